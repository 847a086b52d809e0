//! What one proxy says of the one before it.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use intertie_core::token::{is_token, is_token_byte};

use crate::field::parts;

/// An entry of `Forwarded` (RFC 7239, section 4).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) address: Option<IpAddr>,
    pub(super) scheme: Option<&'static str>,
    pub(super) host: Option<String>,
}

/// Reads an entry; `None` for one that is malformed anywhere: what a client wrote before it may reach into it.
pub(super) fn element(text: &[u8]) -> Option<Element> {
    let mut element = Element::default();
    let mut seen = [false; 3];
    for pair in parts(text, b';').filter(|pair| !pair.is_empty()) {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&pair[..equals], unquoted(&pair[equals + 1..])?);
        let known =
            [&b"for"[..], b"proto", b"host"].iter().position(|known| name.eq_ignore_ascii_case(known));
        if !is_token(name) || known.is_some_and(|at| std::mem::replace(&mut seen[at], true)) {
            return None;
        }
        match known {
            Some(0) => element.address = address(&value),
            Some(1) => element.scheme = scheme(&value),
            Some(2) => element.host = host(&value),
            _ => {}
        }
    }
    Some(element)
}

/// A token as it is, or what a quoted string says.
fn unquoted(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let [b'"', inner @ .., b'"'] = value else {
        // RFC 7239 wants `:` and brackets quoted; not all proxies know.
        let plain = |byte: &u8| is_token_byte(*byte) || b":[]".contains(byte);
        return (!value.is_empty() && value.iter().all(plain)).then_some(Cow::Borrowed(value));
    };
    let mut text = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => text.push(*bytes.next()?),
            b'"' => return None,
            byte => text.push(*byte),
        }
    }
    Some(Cow::Owned(text))
}

/// An address, with a port or without; an IPv6 one with a port in brackets. Nothing for `unknown`, for names
/// that proxies make up, and for everything else.
pub(super) fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim_ascii();
    let address = match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip())),
    };
    address.map(|address| address.to_canonical())
}

/// `http` or `https`.
pub(super) fn scheme(text: &[u8]) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|known| text.trim_ascii().eq_ignore_ascii_case(known.as_bytes()))
}

/// A host that a request could name, with its port.
pub(super) fn host(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.trim_ascii();
    let name = crate::route::host_name(text)?;
    (!name.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Element> {
        element(text.as_bytes())
    }

    #[test]
    fn elements_are_read_as_the_rfc_shows_them() {
        let said = |address: Option<&str>, scheme, host: Option<&str>| {
            let address = address.map(|address| address.parse().expect("an address"));
            Some(Element { address, scheme, host: host.map(str::to_owned) })
        };
        assert_eq!(read("for=192.0.2.43"), said(Some("192.0.2.43"), None, None));
        assert_eq!(read(r#"For="[2001:db8:cafe::17]:4711""#), said(Some("2001:db8:cafe::17"), None, None));
        assert_eq!(
            read("for=192.0.2.60;proto=HTTP;by=203.0.113.43;host=shop.example"),
            said(Some("192.0.2.60"), Some("http"), Some("shop.example"))
        );
        assert_eq!(
            read(r#"host="shop.example:8443" ; proto=https"#),
            said(None, Some("https"), Some("shop.example:8443"))
        );
        assert_eq!(read(r#"for="192.0.2.4\3:80""#), said(Some("192.0.2.43"), None, None));
        for hidden in
            ["for=unknown", "for=_gazonk", "for=\"_x:_y\"", "by=1.2.3.4", "proto=ftp", "host=\"a/b\"", ""]
        {
            assert_eq!(read(hidden), said(None, None, None), "{hidden}");
        }
    }

    #[test]
    fn a_malformed_element_says_nothing_at_all() {
        for text in [
            "192.0.2.43",
            "for",
            "for=",
            "=1",
            "for=1.1.1.1;for=2.2.2.2",
            "for=1.1.1.1;x=\"",
            "for=1.1.1.1;x=\", for=2.2.2.2",
            "for=1.1.1.1;x=\", for=\"[2001:db8::1]:47\"",
            "for=\"1.1.1.1\"2",
            "for=1.1.1.1 2.2.2.2",
            "for=\"1.1.1.1\\\"",
            "f or=1.1.1.1",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_come_with_ports_and_without() {
        let check = |text: &str, expected: Option<&str>| {
            let expected = expected.map(|address| address.parse::<IpAddr>().expect("an address"));
            assert_eq!(address(text.as_bytes()), expected, "{text}");
        };
        check(" 192.0.2.1 ", Some("192.0.2.1"));
        check("192.0.2.1:80", Some("192.0.2.1"));
        check("2001:db8::1", Some("2001:db8::1"));
        check("[2001:db8::1]", Some("2001:db8::1"));
        check("[2001:db8::1]:80", Some("2001:db8::1"));
        check("::ffff:192.0.2.1", Some("192.0.2.1"));
        for none in
            ["", "unknown", "192.0.2", "192.0.2.1:", "192.0.2.1:99999", "[192.0.2.1]", "[::1", "fe80::1%eth0"]
        {
            check(none, None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = element(&bytes);
            let _ = (address(&bytes), scheme(&bytes), host(&bytes));
        }
    }
}
