//! What concerns one connection only, and how bodies are framed on the next.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
};

use super::Present;
use super::present::HOP_BY_HOP;
use crate::field::words;

/// What the gateway has written by then: no client can have it removed.
const OWN: [&str; 3] = ["intertie-client-identity", "traceparent", "tracestate"];

/// Removes what concerns only the connection it came on (RFC 9110, section 7.6.1). True when the sender
/// understands trailers.
pub(in crate::proxy) fn remove_hop_by_hop(headers: &mut HeaderMap, present: Present) -> bool {
    if !present.any(Present::HOP_BY_HOP) {
        return false;
    }
    let accepts_trailers = present.any(Present::TE)
        && words(headers, &TE).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    if present.any(Present::CONNECTION) {
        // What nearly every `Connection` says names no header that would not go anyway.
        let named: Vec<_> = words(headers, &CONNECTION)
            .filter(|option| {
                !option.eq_ignore_ascii_case(b"keep-alive") && !option.eq_ignore_ascii_case(b"close")
            })
            .filter_map(|option| HeaderName::from_bytes(option).ok())
            // `Connection: host` must not take away what routing, framing and trust stand on.
            .filter(|name| ![HOST, CONTENT_LENGTH].contains(name) && !OWN.contains(&name.as_str()))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    if present.any(Present::TRANSFER_ENCODING) {
        // Of two framings that one counts (RFC 9112, section 6.3); the other would cut the body off.
        headers.remove(CONTENT_LENGTH);
    }
    for (bit, name) in HOP_BY_HOP.iter().enumerate() {
        if present.any(Present(1 << bit)) {
            headers.remove(name);
        }
    }
    accepts_trailers
}

/// Joins the cookies of HTTP/2, which may come as several headers, into the one that HTTP/1.1 knows
/// (RFC 9113, section 8.2.3).
pub(in crate::proxy) fn join_cookies(headers: &mut HeaderMap, present: Present) {
    if !present.any(Present::COOKIE) {
        return;
    }
    let cookies: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// Says how a body without a length is framed: without it, hyper sends a GET's body not at all.
pub(in crate::proxy) fn frame_body(headers: &mut HeaderMap, present: Present) {
    if !present.any(Present::CONTENT_LENGTH) {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::headers::headers;

    #[test]
    fn hop_by_hop_headers_end_here() {
        let mut map = headers(&[
            ("connection", "close, x-secret, host, intertie-client-identity, traceparent"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
            ("intertie-client-identity", "dns:orders"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip, Trailers"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "x"),
            ("host", "a"),
            ("accept", "*/*"),
        ]);
        let present = Present::among(&map);
        assert!(remove_hop_by_hop(&mut map, present));
        let mut left: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "host", "intertie-client-identity", "traceparent"]);

        let mut both = headers(&[("content-length", "5"), ("transfer-encoding", "chunked")]);
        let present = Present::among(&both);
        remove_hop_by_hop(&mut both, present);
        assert!(both.is_empty(), "one framing is enough: {both:?}");
    }
}
