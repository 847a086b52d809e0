//! Whether text is a URI-reference or a URI of RFC 3986.

use std::net::Ipv6Addr;

/// Whether `text` is a URI-reference (section 4.1): a URI, or one relative to another.
pub(super) fn is_reference(text: &str) -> bool {
    match split_scheme(text) {
        Some(rest) => is_rest(rest),
        // What stands before a colon in the first segment would be a scheme, so it must be one.
        None => !first_segment(text).contains(':') && is_rest(text),
    }
}

/// Whether `text` is a URI: it begins with a scheme.
///
/// Section 4.3, which the specification names for the type, forbids a fragment; its own JSON Schema allows one, and
/// schemas are often a part of a document. So do we.
pub(super) fn is_uri(text: &str) -> bool {
    split_scheme(text).is_some_and(is_rest)
}

/// What follows the scheme, where there is one.
fn split_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(':')?;
    is_scheme(scheme).then_some(rest)
}

fn first_segment(text: &str) -> &str {
    &text[..text.find(['/', '?', '#']).unwrap_or(text.len())]
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// What follows the scheme: an authority, a path, a query, a fragment.
fn is_rest(text: &str) -> bool {
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (text, query) = text.split_once('?').unwrap_or((text, ""));
    let path = match text.strip_prefix("//") {
        None => text,
        Some(text) => {
            let (authority, path) = text.split_at(text.find('/').unwrap_or(text.len()));
            if !is_authority(authority) {
                return false;
            }
            path
        }
    };
    has_only(path, b":@/") && has_only(query, b":@/?") && has_only(fragment, b":@/?")
}

fn is_authority(text: &str) -> bool {
    let (user, place) = text.rsplit_once('@').unwrap_or(("", text));
    if !has_only(user, b":") {
        return false;
    }
    if let Some(literal) = place.strip_prefix('[') {
        return literal
            .split_once(']')
            .is_some_and(|(address, port)| is_address(address) && (port.is_empty() || is_port(port)));
    }
    let (host, port) = place.split_at(place.find(':').unwrap_or(place.len()));
    has_only(host, b"") && (port.is_empty() || is_port(port))
}

/// What stands between brackets.
fn is_address(text: &str) -> bool {
    if let Some(future) = text.strip_prefix(['v', 'V']) {
        return future.split_once('.').is_some_and(|(version, address)| {
            !version.is_empty()
                && version.bytes().all(|byte| byte.is_ascii_hexdigit())
                && !address.is_empty()
                && !address.contains('%')
                && has_only(address, b":")
        });
    }
    text.parse::<Ipv6Addr>().is_ok()
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether `text` is made of unreserved characters, sub-delimiters, percent-encoded bytes, and those in `more`.
fn has_only(text: &str, more: &[u8]) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let allowed = match byte {
            b'%' => (0..2).all(|_| bytes.next().is_some_and(|digit| digit.is_ascii_hexdigit())),
            b'-' | b'.' | b'_' | b'~' => true,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => true,
            _ => byte.is_ascii_alphanumeric() || more.contains(&byte),
        };
        if !allowed {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_uris_are_told_from_other_text() {
        for uri in [
            "https://github.com/cloudevents",
            "mailto:cncf-wg-serverless@lists.cncf.io",
            "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
            "ftp://ftp.is.co.za/rfc/rfc1808.txt",
            "ldap://[2001:db8::7]/c=GB?objectClass?one",
            "http://user:word@[v7.a:b]:80/a%20b;c=d/?q=/?#f/?",
            "file:///etc/hosts",
            "a:",
            "http://:80",
        ] {
            assert!(is_uri(uri) && is_reference(uri), "{uri}");
        }
        for relative in [
            "/cloudevents/spec/pull/123",
            "1-555-123-4567",
            "//github.com/cloudevents",
            "user-service",
            "./a:b",
            "?a:b",
            "#a:b",
            "",
        ] {
            assert!(is_reference(relative) && !is_uri(relative), "{relative}");
        }
        for neither in [
            "1:2",
            ":a",
            "a b",
            "/a\"b",
            "/%",
            "/%2",
            "/%zz",
            "/a#b#c",
            "http://[::1",
            "http://[::g]/",
            "http://a:b/",
            "http://[::1]x/",
            "/gr\u{f6}\u{df}e",
            "a\nb",
            "/a[b]",
            "/{id}",
            "http://a@b@c/",
            "/a|b",
            "/a^b",
            "/`",
            "<a>",
            "http://[v7.]/",
            "http://[v.a]/",
            "http://a/\u{7f}",
        ] {
            assert!(!is_reference(neither) && !is_uri(neither), "{neither}");
        }
    }
}
