use http::Request;
use http::header::COOKIE;

use super::{HeadLimits, Violation};

/// What HTTP/2 adds to each field of a list for its own keeping (RFC 9113, section 6.5.2).
const FIELD_BYTES: usize = 32;

/// The limit that an HTTP/2 request is above, whose head h2 has read, if it is above one.
pub(crate) fn over_limit<B>(request: &Request<B>, limits: &HeadLimits) -> Option<Violation> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.uri_bytes_max {
        return Some(Violation::UriBytes);
    }
    let (mut fields, mut cookies) = (0, 0);
    let mut bytes = FIELD_BYTES + target + request.uri().authority().map_or(0, |host| host.as_str().len());
    for (name, value) in request.headers() {
        fields += 1;
        cookies += usize::from(name == COOKIE);
        bytes += FIELD_BYTES + name.as_str().len() + value.len();
    }
    if bytes > limits.header_bytes_max {
        return Some(Violation::HeaderBytes);
    }
    // Clients cut a cookie into many so that it compresses better; it is passed on as the one that it is.
    let fields = fields - cookies + cookies.min(1);
    (fields > limits.headers_max).then_some(Violation::Headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { header_bytes_max: 200, headers_max: 3, uri_bytes_max: 40 };

    fn check(target: usize, headers: &[(&str, usize)], violation: Option<Violation>) {
        let target = format!("http://a/{}", "t".repeat(target - 1));
        let values = headers.iter().map(|(name, length)| (*name, "v".repeat(*length)));
        let request = values.fold(Request::get(target), |request, (name, value)| request.header(name, value));
        assert_eq!(over_limit(&request.body(()).expect("a request"), &LIMITS), violation, "{headers:?}");
    }

    #[test]
    fn limits_are_exact() {
        check(40, &[], None);
        check(41, &[], Some(Violation::UriBytes));
        // 32 and the target and the host, 32 and a name.
        let rest = 32 + 1 + 1 + 32 + 1;
        check(1, &[("x", 200 - rest)], None);
        check(1, &[("x", 201 - rest)], Some(Violation::HeaderBytes));
        check(1, &[("x", 1), ("x", 1), ("y", 1)], None);
        check(1, &[("x", 1), ("x", 1), ("y", 1), ("z", 1)], Some(Violation::Headers));
        check(1, &[("x", 1), ("cookie", 1), ("cookie", 1), ("y", 1)], None);
    }
}
