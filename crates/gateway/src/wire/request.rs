use http::Request;
use http::header::COOKIE;

use super::line::names;
use super::{HeadLimits, Violation};

/// What HTTP/2 adds to each field of a list for its own keeping (RFC 9113, section 6.5.2).
const FIELD_BYTES: usize = 32;

/// What is wrong with an HTTP/2 request, whose head h2 has read, if anything is: a limit that it is above, or a
/// framing that a service would read behind our back when the request goes on as HTTP/1.1. h2 itself refuses lengths
/// that its data do not have, and headers that HTTP/2 forbids, but not what passes for them.
pub(crate) fn violation<B>(request: &Request<B>, limits: &HeadLimits) -> Option<Violation> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.uri_bytes_max {
        return Some(Violation::UriBytes);
    }
    let (mut fields, mut cookies, mut lengths) = (0, 0, 0);
    let mut bytes = FIELD_BYTES + target + request.uri().authority().map_or(0, |host| host.as_str().len());
    for (name, value) in request.headers() {
        fields += 1;
        cookies += usize::from(name == COOKIE);
        bytes += FIELD_BYTES + name.as_str().len() + value.len();
        let name = name.as_str().as_bytes();
        if names(name, b"content-length") {
            lengths += 1;
            if name.contains(&b'_') {
                return Some(Violation::ContentLength);
            }
        } else if names(name, b"transfer-encoding") {
            return Some(Violation::TransferEncoding);
        }
    }
    if lengths > 1 {
        return Some(Violation::RepeatedContentLength);
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

    #[test]
    fn what_passes_for_a_framing_is_none() {
        let wrong = |headers: &[(&str, &str)]| {
            let request = Request::post("http://a/");
            let request =
                headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            violation(&request.body(()).expect("a request"), &LIMITS)
        };
        assert_eq!(wrong(&[("content-length", "5")]), None);
        assert_eq!(wrong(&[("content-lengths", "5"), ("x-content_length", "5")]), None);
        assert_eq!(wrong(&[("content_length", "5")]), Some(Violation::ContentLength));
        let twice = [("content-length", "5"), ("content-length", "5")];
        assert_eq!(wrong(&twice), Some(Violation::RepeatedContentLength));
        for name in ["transfer-encoding", "transfer_encoding"] {
            assert_eq!(wrong(&[(name, "chunked")]), Some(Violation::TransferEncoding), "{name}");
        }
    }

    fn check(target: usize, headers: &[(&str, usize)], expected: Option<Violation>) {
        let target = format!("http://a/{}", "t".repeat(target - 1));
        let values = headers.iter().map(|(name, length)| (*name, "v".repeat(*length)));
        let request = values.fold(Request::get(target), |request, (name, value)| request.header(name, value));
        assert_eq!(violation(&request.body(()).expect("a request"), &LIMITS), expected, "{headers:?}");
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
