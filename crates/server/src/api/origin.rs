//! Whether a request may come from a page of another site, which a browser on this machine lets act on an API that asks
//! for no token.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;

use super::failure::{ApiCode, Failure};

/// Refuses what a browser says, or can not hide, of another site.
///
/// # Errors
/// It is one, or the name of the server is one that somebody else may have pointed to this machine.
pub(super) fn check(parts: &Parts) -> Result<(), Failure> {
    let forbidden = |detail: &str| Err(Failure::new(ApiCode::Forbidden, detail));
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = parts.uri.authority().map(Authority::as_str).or_else(|| header(HOST.as_str()));
    if !host.is_none_or(is_of_this_machine) {
        return forbidden("without tokens the API is asked for by its address or as `localhost` alone");
    }
    let is_own = |origin: &str| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.zip(host).is_some_and(|(one, other)| one.eq_ignore_ascii_case(other))
    };
    if !header(ORIGIN.as_str()).is_none_or(is_own)
        || !header("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"))
    {
        return forbidden("without tokens no page of another site is served");
    }
    Ok(())
}

/// Whether a host is an address, or a name that no one else can point anywhere.
fn is_of_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let is_localhost = name.eq_ignore_ascii_case("localhost");
    is_localhost || name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_served(headers: &[(&'static str, &str)]) -> bool {
        let mut request = http::Request::builder().uri("/api/v1/queues");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).expect("a request").into_parts().0).is_ok()
    }

    #[test]
    fn no_page_of_another_site_is_served() {
        let own = ("host", "127.0.0.1:8081");
        for good in [
            &[][..],
            &[own],
            &[("host", "localhost:8081")],
            &[("host", "[::1]:8081")],
            &[own, ("origin", "http://127.0.0.1:8081")],
            &[own, ("sec-fetch-site", "none")],
            &[own, ("sec-fetch-site", "same-origin")],
        ] {
            assert!(is_served(good), "{good:?}");
        }
        for foreign in [
            &[("host", "rebound.example:8081")][..],
            &[("host", "localhost.example")],
            &[("host", "127.0.0.1.example")],
            &[("host", "")],
            &[own, ("origin", "null")],
            &[own, ("origin", "http://127.0.0.1:3000")],
            &[own, ("origin", "https://shop.example")],
            &[own, ("sec-fetch-site", "cross-site")],
            &[own, ("sec-fetch-site", "same-site")],
        ] {
            assert!(!is_served(foreign), "{foreign:?}");
        }
    }
}
