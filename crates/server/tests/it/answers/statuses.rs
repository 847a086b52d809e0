//! Each status that the gateway gives by itself: what makes it, and the answer byte for byte.

use crate::harness::{Origin, Reply, Server};
use crate::traffic::raw;

/// What makes a status, and the answer.
struct Case {
    policy: &'static str,
    request: &'static str,
    /// Status, reason and code.
    status: (u16, &'static str, &'static str),
    title: &'static str,
    detail: &'static str,
    proxy_error: &'static str,
    /// Lines of the head that others do not have, before the common ones.
    lines: &'static str,
    /// The route that took it.
    route: Option<&'static str>,
}

const CASE: Case = Case {
    policy: "",
    request: "",
    status: (0, "", ""),
    title: "",
    detail: "",
    proxy_error: "http_request_error",
    lines: "",
    route: None,
};

const LIMITS: &str = "[server.client_limits]\nheader_timeout = \"300ms\"\nuri_bytes_max = \"40B\"\n\
                      header_bytes_max = \"1KiB\"\nheaders_max = 4\n[server.answers]\nhops_max = 1\n";

/// The service closes what comes for `/close`, and never answers the rest.
const CASES: &[Case] = &[
    Case {
        request: "GET /a HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n",
        status: (400, "Bad Request", "BAD_REQUEST"),
        title: "Bad Request",
        detail: "a request names exactly one host, in its target or one Host header",
        ..CASE
    },
    Case {
        request: "GET /a HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n",
        status: (400, "Bad Request", "BAD_REQUEST"),
        title: "Bad Request",
        detail: "a field does not begin with a name and a colon",
        ..CASE
    },
    Case {
        request: "GET /other HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        status: (404, "Not Found", "ROUTE_NOT_FOUND"),
        title: "Route Not Found",
        detail: "no route wants this host and path",
        proxy_error: "destination_not_found",
        ..CASE
    },
    Case {
        request: "PUT /get HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        status: (405, "Method Not Allowed", "METHOD_NOT_ALLOWED"),
        title: "Method Not Allowed",
        detail: "this path takes GET, HEAD",
        lines: "allow: GET, HEAD\r\n",
        ..CASE
    },
    Case {
        request: "GET /a HTTP/1.1\r\nhost: a\r\n",
        status: (408, "Request Timeout", "REQUEST_TIMEOUT"),
        title: "Request Timeout",
        detail: "the headers took longer than header_timeout, 300ms",
        ..CASE
    },
    Case {
        policy: "attempt_timeout = \"1s\"",
        request: "POST /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 9\r\n\r\nhalf",
        status: (408, "Request Timeout", "REQUEST_TIMEOUT"),
        title: "Request Timeout",
        detail: "the request body did not come in time",
        route: Some("/a/**"),
        ..CASE
    },
    Case {
        policy: "body_max = \"3B\"",
        request: "POST /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 4\r\n\r\nfour",
        status: (413, "Payload Too Large", "BODY_TOO_LARGE"),
        title: "Body Too Large",
        detail: "the body is longer than body_max, 3 bytes",
        route: Some("/a/**"),
        ..CASE
    },
    Case {
        request: "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\nhost: a\r\n\r\n",
        status: (414, "URI Too Long", "URI_TOO_LONG"),
        title: "URI Too Long",
        detail: "the target is longer than uri_bytes_max, 40B",
        ..CASE
    },
    Case {
        request: "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\nexpect: 102-processing\r\n\r\n",
        status: (417, "Expectation Failed", "EXPECTATION_FAILED"),
        title: "Expectation Failed",
        detail: "the request expects something else than 100-continue",
        ..CASE
    },
    Case {
        policy: "rate_limiter = { limit = \"1/h\" }",
        request: "GET /close HTTP/1.1\r\nhost: a\r\n\r\nGET /close HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        status: (429, "Too Many Requests", "RATE_LIMITED"),
        title: "Rate Limited",
        detail: "rate_limiter rejected the call at its bound `limit`",
        proxy_error: "http_request_denied",
        lines: "retry-after: WAIT\r\n",
        route: Some("/close"),
    },
    Case {
        request: "GET /a HTTP/1.1\r\nhost: a\r\na: a\r\nb: b\r\nc: c\r\nd: d\r\n\r\n",
        status: (431, "Request Header Fields Too Large", "HEADERS_TOO_LARGE"),
        title: "Headers Too Large",
        detail: "there are more headers than headers_max, 4",
        ..CASE
    },
    Case {
        request: "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        status: (501, "Not Implemented", "NOT_IMPLEMENTED"),
        title: "Not Implemented",
        detail: "Transfer-Encoding names a coding before `chunked` that is not known here",
        ..CASE
    },
    Case {
        request: "GET /close HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        status: (502, "Bad Gateway", "SERVICE_FAILED"),
        title: "Service Failed",
        detail: "the service gave no valid answer: connection closed before message completed",
        proxy_error: "connection_terminated",
        route: Some("/close"),
        ..CASE
    },
    Case {
        request: "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\nvia: 1.1 a, 1.1 b\r\n\r\n",
        status: (502, "Bad Gateway", "LOOP_DETECTED"),
        title: "Loop Detected",
        detail: "the request came through more gateways than hops_max, 1",
        proxy_error: "proxy_loop_detected",
        ..CASE
    },
    Case {
        policy: "circuit_breaker = { preset = \"sensitive\", failures = 1, open = \"1h\", open_jitter = \"0%\" }",
        request: "GET /close HTTP/1.1\r\nhost: a\r\n\r\nGET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        status: (503, "Service Unavailable", "CIRCUIT_OPEN"),
        title: "Circuit Open",
        detail: "circuit_breaker rejected the call at its bound `open`",
        proxy_error: "destination_unavailable",
        lines: "retry-after: WAIT\r\n",
        route: Some("/a/**"),
    },
    Case {
        policy: "deadline = \"50ms\"",
        request: "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        status: (504, "Gateway Timeout", "DEADLINE_EXCEEDED"),
        title: "Deadline Exceeded",
        detail: "the deadline of the call is over",
        proxy_error: "http_response_timeout",
        route: Some("/a/**"),
        ..CASE
    },
    Case {
        policy: "attempt_timeout = \"50ms\"",
        request: "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        status: (504, "Gateway Timeout", "ATTEMPT_TIMEOUT"),
        title: "Attempt Timeout",
        detail: "an attempt took longer than its attempt_timeout",
        proxy_error: "http_response_timeout",
        route: Some("/a/**"),
        ..CASE
    },
    Case {
        request: "GET /a HTTP/2.0\r\nhost: a\r\n\r\n",
        status: (505, "HTTP Version Not Supported", "VERSION_NOT_SUPPORTED"),
        title: "Version Not Supported",
        detail: "the request is written in HTTP/1.1 and says that it is of another version",
        ..CASE
    },
];

/// The value behind `name` in a head or a document, up to what ends it.
fn value<'a>(text: &'a str, name: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(name).unwrap_or_else(|| panic!("no {name} in {text}"));
    rest.split_once(end).unwrap_or_else(|| panic!("no end of {name} in {text}")).0
}

/// The whole answer, as its case says, with what differs from one to the next taken from `said`.
fn expected(case: &Case, said: &str) -> String {
    let (status, reason, code) = case.status;
    let (id, date) = (value(said, "x-request-id: ", "\r\n"), value(said, "date: ", "\r\n"));
    let timestamp = value(said, "\"timestamp\":\"", "\"");
    let route = case.route.map(|route| format!("\"route\":\"{route}\",")).unwrap_or_default();
    let Case { title, detail, proxy_error, lines, .. } = case;
    let body = format!(
        "{{\"errors\":[{{\"code\":\"{code}\",\"detail\":\"{detail}\",\"id\":\"{id}\",\
         \"meta\":{{\"requestId\":\"{id}\",{route}\"timestamp\":\"{timestamp}\"}},\
         \"status\":\"{status}\",\"title\":\"{title}\"}}]}}"
    );
    let limits = if code == "RATE_LIMITED" {
        "ratelimit: \"default\";r=0;t=WAIT\r\nratelimit-policy: \"default\";q=1;w=3600\r\n"
    } else {
        ""
    };
    let text = format!(
        "HTTP/1.1 {status} {reason}\r\n{lines}content-type: application/json\r\nvary: accept\r\n\
         x-request-id: {id}\r\nproxy-status: intertie; error={proxy_error}\r\n{limits}connection: close\r\n\
         content-length: {}\r\ndate: {date}\r\n\r\n{body}",
        body.len()
    );
    if !text.contains("WAIT") {
        return text;
    }
    // An hour, and however long the machine took since it began.
    let wait = value(said, "retry-after: ", "\r\n");
    assert!((3_500..=3_600).contains(&wait.parse().unwrap_or(0)), "{said}");
    text.replace("WAIT", wait)
}

#[tokio::test]
async fn each_status_is_given_where_http_says_so() {
    let origin =
        Origin::start(
            |request| async move { if request.path == "/close" { Reply::Close } else { Reply::Hang } },
        )
        .await;
    let mut faults = Vec::new();
    for case in CASES {
        let traffic = format!(
            "{LIMITS}[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\
             [route.get]\nmatch = {{ path = \"/get\", method = [\"GET\", \"HEAD\"] }}\nto = \"origin\"\n\
             [route.\"/a/**\"]\nto = \"origin\"\n{}\n[route.\"/close\"]\nto = \"origin\"\n{}\n",
            origin.address, case.policy, case.policy
        );
        let server = Server::start(&traffic);
        let said = raw(&server, case.request).await;
        // What answers the request before it, if one goes before, is not of interest.
        let begins =
            |(at, words): &(usize, &str)| said[at + words.len()..].starts_with(|c: char| c.is_ascii_digit());
        let last = said.match_indices("HTTP/1.1 ").filter(begins).last();
        let last = last.map_or("", |(begin, _)| &said[begin..]);
        let expected = expected(case, last);
        if last != expected {
            faults.push(format!("{:?}\n{last}\n-- is not --\n{expected}", case.request));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}
