//! Requests as HTTP/2 wants them, and back. Pure.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Uri};

/// Puts the host of a request into its target: what HTTP/1.1 says in `Host` and in the headers of its framing,
/// HTTP/2 says elsewhere (RFC 9113, section 8.3.1). A request that names no host names the endpoint; one that
/// names a host that is no authority has been refused ([`is_authority`]).
pub(crate) fn to_http2<B>(request: &mut Request<B>, scheme: &Scheme, endpoint: &str) {
    let host = request.headers_mut().remove(HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let authority = authority.or_else(|| Authority::try_from(endpoint).ok());
    let headers = request.headers_mut();
    headers.remove(CONNECTION);
    headers.remove(UPGRADE);
    headers.remove(TRANSFER_ENCODING);
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    parts.scheme = Some(scheme.clone());
    parts.authority = authority;
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

/// Whether a host can be named in HTTP/2; one that is empty need not be.
pub(super) fn is_authority(host: &HeaderValue) -> bool {
    host.is_empty() || Authority::try_from(host.as_bytes()).is_ok()
}

/// The headers and the target as they were before [`to_http2`], for a request that was not sent.
pub(super) fn to_http1<B>(request: &mut Request<B>, has_body: bool) {
    let parts = std::mem::take(request.uri_mut()).into_parts();
    let host = parts.authority.and_then(|authority| HeaderValue::try_from(authority.as_str()).ok());
    let headers: &mut HeaderMap = request.headers_mut();
    headers.insert(HOST, host.unwrap_or_else(|| HeaderValue::from_static("")));
    if has_body && !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    *request.uri_mut() = Uri::from(parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/")));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(target: &str, headers: &[(&'static str, &str)]) -> Request<()> {
        let mut request = Request::post(target).body(()).expect("a target");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a value"));
        }
        request
    }

    #[test]
    fn the_host_is_the_authority_and_the_framing_is_gone() {
        let headers = [("host", "shop.example:81"), ("transfer-encoding", "chunked"), ("te", "trailers")];
        let mut translated = request("/a?b=c", &headers);
        to_http2(&mut translated, &Scheme::HTTPS, "10.0.0.1:7");
        assert_eq!(translated.uri(), "https://shop.example:81/a?b=c");
        assert_eq!(translated.headers().keys().collect::<Vec<_>>(), ["te"]);
    }

    #[test]
    fn a_request_without_a_host_names_the_endpoint() {
        for headers in [&[][..], &[("host", "")]] {
            let mut translated = request("/", headers);
            to_http2(&mut translated, &Scheme::HTTP, "10.0.0.1:7");
            assert_eq!(translated.uri(), "http://10.0.0.1:7/");
        }
    }

    proptest! {
        #[test]
        fn what_was_not_sent_is_as_before(
            path in "/[a-z/]{0,9}(\\?[a-z=&]{0,9})?", host in "[a-z]{1,9}(\\.example)?(:[1-9][0-9]{0,3})?", sized: bool
        ) {
            let framing = if sized { ("content-length", "3") } else { ("transfer-encoding", "chunked") };
            let before = request(&path, &[("host", &host), framing, ("accept", "*/*")]);
            let mut request = before.clone();
            to_http2(&mut request, &Scheme::HTTP, "10.0.0.1:7");
            to_http1(&mut request, true);
            prop_assert_eq!(request.uri(), before.uri());
            prop_assert_eq!(request.headers(), before.headers());
        }
    }
}
