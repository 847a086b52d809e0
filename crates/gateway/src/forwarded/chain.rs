//! The way that a request says it came, walked back from us.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::element::{address, element, host, scheme};
use super::{ForwardedHeader, Trust};
use crate::field::{entries, parts};

/// Where a request came from, as far as trusted proxies tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The client: the first address on the way back that is not that of a trusted proxy.
    pub(crate) address: IpAddr,
    /// The addresses from the client to the last proxy, as `X-Forwarded-For` says them.
    pub(crate) forwarded_for: String,
    /// What the client spoke, `http` or `https`.
    pub(crate) scheme: Option<&'static str>,
    /// The host that it asked for.
    pub(crate) host: Option<String>,
}

/// Proxies that are walked back through. No real way is that long, and a client may have made one up.
const HOPS_MAX: usize = 32;

/// Where a request with these headers came from that the trusted proxy `peer` brought.
///
/// From right to left each entry is the word of the proxy to its right, so it counts as long as that one is
/// trusted. An entry that names no address ends the walk at the proxy that wrote it.
pub(crate) fn origin(peer: IpAddr, headers: &HeaderMap, trust: &Trust) -> Origin {
    let mut hops = vec![peer.to_canonical()];
    let mut come_from = |address: Option<IpAddr>| {
        hops.extend(address);
        address.is_some_and(|address| trust.covers(address)) && hops.len() < HOPS_MAX
    };
    let (mut client_scheme, mut client_host) = (None, None);
    match trust.header {
        ForwardedHeader::XForwardedFor => {
            let _ = backwards(headers, &X_FORWARDED_FOR).all(|entry| come_from(address(entry)));
            // Only the last proxy's own word is sure to be no client's.
            client_scheme = backwards(headers, &X_FORWARDED_PROTO).next().and_then(scheme);
            client_host = backwards(headers, &X_FORWARDED_HOST).next().and_then(host);
        }
        ForwardedHeader::Forwarded => {
            let _ = elements(headers).all(|entry| {
                let Some(element) = element(entry) else { return false };
                (client_scheme, client_host) = (element.scheme, element.host);
                come_from(element.address)
            });
        }
    }
    let written: Vec<_> = hops.iter().rev().map(IpAddr::to_string).collect();
    Origin {
        address: hops[hops.len() - 1],
        forwarded_for: written.join(", "),
        scheme: client_scheme,
        host: client_host,
    }
}

static FORWARDED: HeaderName = HeaderName::from_static("forwarded");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The entries of a list, from its last to its first. The one that counts stands beside bytes that are a client's,
/// which must not make it unread: they need not be ASCII.
fn backwards<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    entries(headers.get_all(name).iter()).rev()
}

/// The elements of `Forwarded`, from its last to its first.
fn elements(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(&FORWARDED).iter().rev().map(HeaderValue::as_bytes);
    let elements = lines.flat_map(|line| parts(line, b',').collect::<Vec<_>>().into_iter().rev());
    elements.filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trust(header: ForwardedHeader) -> Trust {
        let proxies = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().expect("a network"));
        Trust { proxies: proxies.to_vec(), header, ..Trust::default() }
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(line) {
            headers.append(name, value);
        }
        headers
    }

    fn check(header: ForwardedHeader, lines: &[(&'static str, &str)], forwarded_for: &str) -> Origin {
        let found = origin([10, 0, 0, 1].into(), &headers(lines), &trust(header));
        assert_eq!(found.forwarded_for, forwarded_for, "{lines:?}");
        assert_eq!(found.address.to_string(), forwarded_for.split(", ").next().expect("one"), "{lines:?}");
        found
    }

    #[test]
    fn the_first_address_from_the_right_that_is_not_trusted_is_the_client() {
        let way = |entries: &str, expected: &str| {
            check(ForwardedHeader::XForwardedFor, &[("x-forwarded-for", entries)], expected);
            let elements: Vec<_> =
                entries.split(',').map(|entry| format!("for=\"{}\"", entry.trim())).collect();
            check(ForwardedHeader::Forwarded, &[("forwarded", &elements.join(","))], expected);
        };
        way("192.0.2.1", "192.0.2.1, 10.0.0.1");
        way("6.6.6.6, 192.0.2.1", "192.0.2.1, 10.0.0.1");
        way("6.6.6.6, 192.0.2.1, 10.9.9.9", "192.0.2.1, 10.9.9.9, 10.0.0.1");
        way("6.6.6.6, 192.0.2.1:4711, [2001:db8::7]:80", "192.0.2.1, 2001:db8::7, 10.0.0.1");
        way("10.0.0.3, 10.0.0.2", "10.0.0.3, 10.0.0.2, 10.0.0.1");
        way("192.0.2.1, unknown", "10.0.0.1");
        way("192.0.2.1, unknown, 10.0.0.2", "10.0.0.2, 10.0.0.1");
        way("192.0.2.1, 10.0.0.2x", "10.0.0.1");
    }

    #[test]
    fn lines_are_one_list_and_the_other_header_says_nothing() {
        let lines = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1, ,10.0.0.2,")];
        check(ForwardedHeader::XForwardedFor, &lines, "192.0.2.1, 10.0.0.2, 10.0.0.1");
        check(ForwardedHeader::Forwarded, &lines, "10.0.0.1");
        let lines = [("forwarded", "for=6.6.6.6;proto=https;host=evil.example")];
        let found = check(ForwardedHeader::XForwardedFor, &lines, "10.0.0.1");
        assert_eq!((found.scheme, found.host), (None, None));
    }

    #[test]
    fn scheme_and_host_are_those_of_the_client_as_its_proxy_tells_them() {
        let lines = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "ftp, HTTPS"),
            ("x-forwarded-host", "evil.example, shop.example:8443"),
        ];
        let found = check(ForwardedHeader::XForwardedFor, &lines, "192.0.2.1, 10.0.0.1");
        assert_eq!((found.scheme, found.host.as_deref()), (Some("https"), Some("shop.example:8443")));
        let value = "for=6.6.6.6;host=evil.example, for=192.0.2.1;proto=https;host=shop.example, for=10.0.0.2;proto=http";
        let found =
            check(ForwardedHeader::Forwarded, &[("forwarded", value)], "192.0.2.1, 10.0.0.2, 10.0.0.1");
        assert_eq!((found.scheme, found.host.as_deref()), (Some("https"), Some("shop.example")));
        for wrong in ["a b", "user@shop.example", "shop.example/x", ""] {
            let lines = [("x-forwarded-host", wrong)];
            assert_eq!(check(ForwardedHeader::XForwardedFor, &lines, "10.0.0.1").host, None, "{wrong}");
        }
    }

    #[test]
    fn a_quotation_mark_that_a_client_left_open_hides_nobody_behind_another_address() {
        for proxy in [", for=192.0.2.1", ", for=\"[2001:db8::9]:47\""] {
            for client in ["for=6.6.6.6;x=\"", "for=\"6.6.6.6", "for=6.6.6.6;x=\"\\"] {
                let value = format!("{client}{proxy}");
                check(ForwardedHeader::Forwarded, &[("forwarded", &value)], "10.0.0.1");
            }
        }
    }

    #[test]
    fn a_way_that_has_no_end_is_cut() {
        let endless = vec!["10.0.0.2"; 10_000].join(",");
        let found = origin(
            [10, 0, 0, 1].into(),
            &headers(&[("x-forwarded-for", &endless)]),
            &trust(ForwardedHeader::XForwardedFor),
        );
        assert_eq!(found.forwarded_for.split(", ").count(), HOPS_MAX);
    }

    proptest! {
        /// Against the definition: drop trusted addresses from the right, and take the next.
        #[test]
        fn what_stands_left_of_the_client_never_matters(
            client in any::<[u8; 4]>().prop_filter("not trusted", |octets| octets[0] != 10),
            proxies in prop::collection::vec(any::<[u8; 3]>(), 0..5),
            made_up in prop::collection::vec("[ -~]{0,20}", 0..4),
            own_line: bool,
        ) {
            let client = IpAddr::from(client);
            let proxies: Vec<_> = proxies.iter().map(|[a, b, c]| IpAddr::from([10, *a, *b, *c]).to_string()).collect();
            let honest: Vec<_> = std::iter::once(client.to_string()).chain(proxies).collect();
            let honest = honest.join(", ");
            let mut headers = HeaderMap::new();
            let made_up = made_up.join(",");
            if own_line {
                headers.append(&X_FORWARDED_FOR, HeaderValue::from_str(&made_up).expect("ASCII"));
                headers.append(&X_FORWARDED_FOR, HeaderValue::from_str(&honest).expect("ASCII"));
            } else {
                let line = format!("{made_up},{honest}");
                headers.append(&X_FORWARDED_FOR, HeaderValue::from_str(&line).expect("ASCII"));
            }
            let found = origin([10, 0, 0, 1].into(), &headers, &trust(ForwardedHeader::XForwardedFor));
            prop_assert_eq!(found.address, client);
            prop_assert_eq!(found.forwarded_for, format!("{honest}, 10.0.0.1"));
        }

        #[test]
        fn the_same_in_elements(
            client in any::<[u8; 4]>().prop_filter("not trusted", |octets| octets[0] != 10),
            made_up in "[ -~]{0,40}",
        ) {
            let client = IpAddr::from(client);
            let value = format!("{made_up}, for={client}");
            let headers = headers(&[("forwarded", &value)]);
            let found = origin([10, 0, 0, 1].into(), &headers, &trust(ForwardedHeader::Forwarded)).address;
            prop_assert!(found == client || found == IpAddr::from([10, 0, 0, 1]), "{} from {}", found, value);
        }
    }
}
