//! A listener without TLS that sends every client to the one with it.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, LOCATION};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use http_body_util::Full;

use crate::route::request_host;

/// 308, which keeps method and body, to the same place over TLS; 400 for a request that names no host.
pub(super) fn answer(request: &Parts, port: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    match location(&request.uri, &request.headers, port) {
        Some(location) => {
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(LOCATION, location);
        }
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// 400 for a message that can be read in more than one way.
pub(super) fn refuse() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Where a request finds what it asks for at `port` over TLS. `None` when it does not name exactly one host.
fn location(uri: &Uri, headers: &HeaderMap, port: u16) -> Option<HeaderValue> {
    let host = request_host(uri, headers).ok()?;
    // As it stands, a host could hold a path or a user, and lead elsewhere.
    let authority: Authority = host.parse().ok()?;
    if host.is_empty() || host.contains('@') {
        return None;
    }
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if !path.starts_with('/') {
        return None;
    }
    HeaderValue::try_from(format!("https://{}{port}{path}", authority.host())).ok()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn check(target: &str, host: Option<&str>, port: u16, expected: Option<&str>) {
        let mut request = Request::get(target);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let answer = answer(&parts, port);
        let status = if expected.is_some() { 308 } else { 400 };
        assert_eq!(answer.status(), status, "{target} {host:?}");
        let location = answer.headers().get(LOCATION).map(|value| value.to_str().expect("visible"));
        assert_eq!(location, expected, "{target} {host:?}");
    }

    #[test]
    fn the_place_stays_the_same() {
        check("/a?b=c", Some("shop.example"), 443, Some("https://shop.example/a?b=c"));
        check("/a", Some("shop.example:8080"), 8443, Some("https://shop.example:8443/a"));
        check("/", Some("[::1]:80"), 443, Some("https://[::1]/"));
        check("http://shop.example/a", Some("other.example"), 443, Some("https://shop.example/a"));
        check("//evil.example/a", Some("shop.example"), 443, Some("https://shop.example//evil.example/a"));
    }

    #[test]
    fn without_one_host_there_is_no_place() {
        check("/", None, 443, None);
        check("/", Some(""), 443, None);
        check("/", Some("user@shop.example"), 443, None);
        check("/", Some("shop.example/path"), 443, None);
        check("*", Some("shop.example"), 443, None);
    }
}
