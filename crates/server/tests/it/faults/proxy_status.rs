//! What `Proxy-Status` says of each fault of a service (RFC 9209, section 2.3).

use super::service::Listening::{self, Does, IsFull, LeavesInQueue, Refuses};
use super::service::Service;
use super::service::Step::{Hang, Read, Reset, Say};
use crate::harness::{Client, Server};

#[derive(Debug, Clone, Copy)]
struct Case {
    service: Listening,
    /// Keys of the service.
    keys: &'static str,
    /// Keys of the route.
    policy: &'static str,
    /// Status and error code, and what is said.
    answer: (u16, &'static str),
    error: &'static str,
}

const UNREACHABLE: (u16, &str) = (502, "SERVICE_UNREACHABLE");
const NOT_IN_TIME: (u16, &str) = (504, "CONNECT_TIMEOUT");
const FAILED: (u16, &str) = (502, "SERVICE_FAILED");
const LATE: (u16, &str) = (504, "ATTEMPT_TIMEOUT");

const fn case(service: Listening, answer: (u16, &'static str), error: &'static str) -> Case {
    Case { service, keys: "", policy: "", answer, error }
}

const fn keys(keys: &'static str, case: Case) -> Case {
    Case { keys, ..case }
}

const fn policy(policy: &'static str, case: Case) -> Case {
    Case { policy, ..case }
}

const HTTP2: &str = "protocol = \"http2\"\nconnect_timeout = \"300ms\"";
const SHORT: &str = "attempt_timeout = \"300ms\"";
/// The first words of a service of HTTP/2.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

#[rustfmt::skip]
const CASES: &[Case] = &[
    case(Refuses, UNREACHABLE, "connection_refused"),
    keys("connect_timeout = \"300ms\"", case(IsFull, NOT_IN_TIME, "connection_timeout")),
    policy(SHORT, case(IsFull, LATE, "connection_timeout")),
    policy("deadline = \"300ms\"", case(IsFull, (504, "DEADLINE_EXCEEDED"), "connection_timeout")),
    policy(SHORT, case(LeavesInQueue, LATE, "http_response_timeout")),
    policy(SHORT, case(Does(&[Read, Hang]), LATE, "http_response_timeout")),
    policy("deadline = \"300ms\"", case(Does(&[Read, Hang]), (504, "DEADLINE_EXCEEDED"), "http_response_timeout")),
    case(Does(&[Read]), FAILED, "connection_terminated"),
    case(Does(&[Read, Reset]), FAILED, "connection_terminated"),
    case(Does(&[Read, Say(b"HTTP/1.1 103 Early Hints\r\n\r\n")]), FAILED, "connection_terminated"),
    case(Does(&[Read, Say(b"HTTP/1.1 200 OK\r\ncontent-le")]), FAILED, "http_response_incomplete"),
    case(Does(&[Read, Say(b"nonsense\r\n\r\n"), Hang]), FAILED, "http_protocol_error"),
    case(Does(&[Read, Say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n"), Hang]), FAILED, "http_response_transfer_coding"),
    case(Does(&[Read, Say(b"HTTP/1.1 200 OK\r\na: a\r\nb: b\r\nc: c\r\nd: d\r\ne: e\r\n\r\n"), Hang]), FAILED, "http_response_header_section_size"),
    case(Does(&[Read, Say(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"), Hang]), FAILED, "http_protocol_error"),
    keys(HTTP2, case(Does(&[Say(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Hang]), UNREACHABLE, "http_protocol_error")),
    keys(HTTP2, case(Does(&[Hang]), NOT_IN_TIME, "connection_read_timeout")),
    keys("tls = { server_name = \"a.example\" }", case(Does(&[Say(b"\x15\x03\x03\0\x02\x02\x28"), Hang]), UNREACHABLE, "tls_alert_received; alert-id=40")),
    keys("tls = { server_name = \"a.example\" }", case(Does(&[Say(b"SSH-2.0-other\r\n"), Hang]), UNREACHABLE, "tls_protocol_error")),
    keys("tls = { server_name = \"a.example\" }", case(Does(&[]), UNREACHABLE, "connection_terminated")),
];

async fn check(case: &Case) {
    let Case { keys, policy, .. } = case;
    let service = Service::start(case.service);
    let server = Server::start(&format!(
        "[server.client_limits]\nheaders_max = 4\n\n[service.origin]\n\
         endpoints = [{{ at = \"{}\" }}]\n{keys}\n\n[route.\"/**\"]\nto = \"origin\"\n{policy}\n",
        service.address
    ));
    let answer = Client::new(server.address).post("/", &[], "once").await;
    let what = format!("{:?} {keys} {policy}: {}", case.service, answer.text());
    assert_eq!((answer.status, answer.code().as_str()), case.answer, "{what}");
    let said = answer.header("proxy-status").and_then(|status| status.strip_prefix("intertie; error="));
    assert_eq!(said, Some(case.error), "{what}");
}

#[tokio::test]
async fn each_fault_of_a_service_has_its_type() {
    for case in CASES {
        check(case).await;
    }
}

/// It is another fault when the answer alone does not come: the whole body was taken then.
#[tokio::test]
async fn a_service_that_takes_no_more_of_a_body_is_told_from_one_that_does_not_answer() {
    for (protocol, does) in [("http1", &[Read, Hang][..]), ("http2", &[Say(SETTINGS), Hang])] {
        let service = Service::start(Does(does));
        let server = Server::start(&format!(
            "[service.origin]\nendpoints = [{{ at = \"{}\" }}]\nprotocol = \"{protocol}\"\n\n\
             [route.\"/**\"]\nto = \"origin\"\n{SHORT}\n",
            service.address
        ));
        for (length, error) in [(100, "http_response_timeout"), (32 << 20, "connection_write_timeout")] {
            let client = Client::new(server.address).http2();
            let answer = client.post("/", &[], &"x".repeat(length)).await;
            assert_eq!((answer.status, answer.code().as_str()), LATE, "{protocol} {length}");
            let expected = format!("intertie; error={error}");
            assert_eq!(answer.header("proxy-status"), Some(expected.as_str()), "{protocol} {length}");
        }
    }
}

/// A connection that has room is not there, and no other may be opened.
#[tokio::test]
async fn a_full_service_has_reached_its_limit() {
    let service = Service::start(Does(&[Say(SETTINGS), Hang]));
    let server = Server::start(&format!(
        "threads = 1\n\n[service.origin]\nendpoints = [{{ at = \"{}\" }}]\nprotocol = \"http2\"\n\
         http2 = {{ streams_max = 1, connections_max = 1 }}\n\n[route.\"/**\"]\nto = \"origin\"\n",
        service.address
    ));
    let client = Client::new(server.address);
    // Which of them has the place is open; the other is refused at once.
    let refused = tokio::select! {
        refused = client.get("/one") => refused,
        refused = client.get("/other") => refused,
    };
    assert_eq!(refused.header("proxy-status"), Some("intertie; error=connection_limit_reached"));
}
