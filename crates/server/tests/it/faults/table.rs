//! Each fault of a service and what comes of it.

use super::service::Listening::{self, Does, IsFull, LeavesInQueue, Refuses};
use super::service::Step::{
    DripForEver, HalfClose, Hang, Ignore, Read, ReadByte, ReadHead, Reset, Say, SayForEver,
};

/// One fault. The service has two attempts, a breaker and an attempt timeout above it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) fault: &'static str,
    pub(super) service: Listening,
    /// Bytes of the request's body.
    pub(super) body: usize,
    /// Whether the connection carried a good request before.
    pub(super) kept: bool,
    /// Keys of the service.
    pub(super) keys: &'static str,
    /// Status, error code or how the body was cut, attempts: for a method that may be repeated. Where a race
    /// decides between two outcomes, both.
    pub(super) idempotent: &'static str,
    /// The same for one that may not.
    pub(super) other: &'static str,
    /// How each attempt without a whole answer is counted.
    pub(super) counted: Counted,
    /// Why the answer was refused, where its bytes are at fault.
    pub(super) refused: &'static str,
}

impl Case {
    /// Attempt timeout and deadline. Only the one that is to end the case is short: on a busy machine a fault that
    /// is over at once takes its time too.
    pub(super) fn limits(&self) -> (&'static str, &'static str) {
        let ends_with = |limit| self.idempotent.contains(limit) || self.other.contains(limit);
        if ends_with("ATTEMPT_TIMEOUT") {
            // A body must have filled all that lies between before it can be seen that nobody reads it.
            (if self.body > 0 { "3s" } else { "1500ms" }, "40s")
        } else if ends_with("deadline") {
            ("3500ms", "4s")
        } else {
            ("15s", "40s")
        }
    }
}

/// What an attempt shows of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// A failure: enough of them open the breaker.
    Transient,
    /// Nothing.
    Unjudged,
    /// There are none.
    Success,
}

const fn case(
    fault: &'static str,
    service: Listening,
    idempotent: &'static str,
    other: &'static str,
    counted: Counted,
    refused: &'static str,
) -> Case {
    Case { fault, service, body: 0, kept: false, keys: "", idempotent, other, counted, refused }
}

const fn keys(keys: &'static str, case: Case) -> Case {
    Case { keys, ..case }
}

/// The same fault on a connection that carried a good request before.
const fn kept(case: Case) -> Case {
    Case { kept: true, ..case }
}

const fn with_body(case: Case, body: usize) -> Case {
    Case { body, ..case }
}

/// Enough of them that a head is soon too long.
const FIELDS: &[u8] = b"x: y\r\nx: y\r\nx: y\r\nx: y\r\nx: y\r\nx: y\r\nx: y\r\nx: y\r\nx: y\r\nx: y\r\n\
    x: y\r\nx: y\r\nx: y\r\nx: y\r\nx: y\r\nx: y\r\nx: y\r\nx: y\r\nx: y\r\nx: y\r\n";
const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const FAILED: &str = "502 SERVICE_FAILED ×2";
const FAILED_ONCE: &str = "502 SERVICE_FAILED ×1";
// Whether a byte of the request went out before the service did so is a race, and so is which failure opens the
// breaker.
const FAILED_OR_NOT_REACHED: &str = "502 SERVICE_FAILED ×2 or 502 SERVICE_UNREACHABLE ×2";
const FAILED_ONCE_OR_NOT_REACHED: &str = "502 SERVICE_FAILED ×1 or 502 SERVICE_FAILED ×2 or 502 SERVICE_UNREACHABLE ×1 or 502 SERVICE_UNREACHABLE ×2";
const LATE: &str = "504 ATTEMPT_TIMEOUT ×2";
const LATE_ONCE: &str = "504 ATTEMPT_TIMEOUT ×1";
const NOT_REACHED: &str = "502 SERVICE_UNREACHABLE ×2";
const NOT_REACHED_IN_TIME: &str = "504 CONNECT_TIMEOUT ×2";
const BROKEN_OFF: &str = "200 service_broke_off ×1";
const OVER: &str = "200 deadline ×1";
const FINE: &str = "200 - ×1";
const MENDED: &str = "200 - ×2";
use Counted::{Success, Transient, Unjudged};

#[rustfmt::skip]
pub(super) const CASES: &[Case] = &[
    // No connection: nothing was sent, so that anything may be sent again.
    case("refuses connections", Refuses, NOT_REACHED, NOT_REACHED, Transient, ""),
    case("does not answer the handshake, its queue is full", IsFull, NOT_REACHED_IN_TIME, NOT_REACHED_IN_TIME, Transient, ""),
    // Closed early.
    // Here it is known whether a byte of the request went out.
    keys("protocol = \"http2\"", case("closes where it should begin to speak HTTP/2", Does(&[]), NOT_REACHED, NOT_REACHED, Transient, "")),
    keys("tls = { server_name = \"a.example\" }", case("closes in the handshake of TLS", Does(&[ReadByte]), NOT_REACHED, NOT_REACHED, Transient, "")),
    case("closes behind the first byte", Does(&[ReadByte]), FAILED, FAILED_ONCE, Transient, ""),
    // Here it is not.
    case("closes at once", Does(&[]), FAILED_OR_NOT_REACHED, FAILED_ONCE_OR_NOT_REACHED, Transient, ""),
    case("closes behind the request", Does(&[Read]), FAILED, FAILED_ONCE, Transient, ""),
    case("resets behind the request", Does(&[Read, Reset]), FAILED, FAILED_ONCE, Transient, ""),
    case("closes in the middle of the head", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\ncontent-le")]), FAILED, FAILED_ONCE, Transient, ""),
    case("resets in the middle of the head", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\ncontent-le"), Reset]), FAILED, FAILED_ONCE, Transient, ""),
    case("closes behind an interim answer", Does(&[Read, Say(b"HTTP/1.1 103 Early Hints\r\n\r\n")]), FAILED, FAILED_ONCE, Transient, ""),
    case("stops speaking behind the request, and listens on", Does(&[Read, HalfClose, Hang]), FAILED, FAILED_ONCE, Transient, ""),
    // Never an answer.
    case("never answers", Does(&[Read, Hang]), LATE, LATE_ONCE, Transient, ""),
    case("never takes the connection from its queue", LeavesInQueue, LATE, LATE_ONCE, Transient, ""),
    case("never ends its head", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\n"), Hang]), LATE, LATE_ONCE, Transient, ""),
    case("sends its head drop by drop", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\nx: "), DripForEver(b'x')]), LATE, LATE_ONCE, Transient, ""),
    with_body(case("answers and never reads the body of 8 MiB", Does(&[ReadHead, Say(GOOD), Ignore]), FINE, FINE, Success, ""), 8 << 20),
    case("never reads", Does(&[Ignore]), LATE, LATE_ONCE, Transient, ""),
    with_body(case("never reads a body of 8 MiB", Does(&[Ignore]), LATE_ONCE, LATE_ONCE, Transient, ""), 8 << 20),
    // Garbage.
    case("answers with garbage", Does(&[Read, Say(b"\x80\x03\x01 what?\r\n\r\n"), Hang]), FAILED, FAILED_ONCE, Transient, "control_character"),
    case("answers with zero bytes", Does(&[Read, SayForEver(&[0; 8192])]), FAILED, FAILED_ONCE, Transient, "header_bytes_max"),
    case("speaks another protocol", Does(&[Read, Say(b"220 mail.example ESMTP\r\n"), Hang]), FAILED, FAILED_ONCE, Transient, "status_line"),
    case("speaks TLS", Does(&[Read, Say(b"\x15\x03\x01\x00\x02\x02\x46\r\n"), Hang]), FAILED, FAILED_ONCE, Transient, "control_character"),
    case("answers in HTTP/2", Does(&[Read, Say(b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0\r\n"), Hang]), FAILED, FAILED_ONCE, Transient, "control_character"),
    case("answers in two readings", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"), Hang]), FAILED, FAILED_ONCE, Transient, "two_framings"),
    // For ever.
    case("sends headers for ever", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\n"), SayForEver(FIELDS)]), FAILED, FAILED_ONCE, Transient, "headers_max"),
    case("sends one header for ever", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\nx: "), SayForEver(&[b'x'; 8192])]), FAILED, FAILED_ONCE, Transient, "header_bytes_max"),
    case("promises to go on for ever", Does(&[Read, SayForEver(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")]), FAILED, FAILED_ONCE, Transient, "unasked"),
    case("sends a body for ever", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\n\r\n"), SayForEver(&[b'x'; 1024])]), OVER, OVER, Transient, ""),
    case("sends a body drop by drop", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\n\r\n"), DripForEver(b'x')]), OVER, OVER, Transient, ""),
    case("sends chunks for ever", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"), SayForEver(b"1\r\nx\r\n")]), OVER, OVER, Transient, ""),
    case("sends trailers for ever", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"), SayForEver(b"x: y\r\n")]), BROKEN_OFF, BROKEN_OFF, Transient, "headers_max"),
    // The middle of the body.
    case("closes in the middle of the body", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")]), BROKEN_OFF, BROKEN_OFF, Transient, ""),
    case("resets in the middle of the body", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"), Reset]), BROKEN_OFF, BROKEN_OFF, Transient, ""),
    case("closes between two chunks", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")]), BROKEN_OFF, BROKEN_OFF, Transient, ""),
    case("resets a body that ends with its connection", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\n\r\nabc"), Reset]), BROKEN_OFF, BROKEN_OFF, Transient, ""),
    case("garbage between two chunks", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n?\r\n"), Hang]), BROKEN_OFF, BROKEN_OFF, Transient, "chunk_size"),
    case("stops in the middle of the body", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"), Hang]), OVER, OVER, Transient, ""),
    case("closes a body that ends with its connection", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\n\r\nabc")]), FINE, FINE, Success, ""),
    // A connection that was kept.
    kept(case("closes a kept connection under a request", Does(&[Read, Say(GOOD), Read]), FINE, FAILED_ONCE, Unjudged, "")),
    kept(case("resets a kept connection under a request", Does(&[Read, Say(GOOD), Read, Reset]), FINE, FAILED_ONCE, Unjudged, "")),
    kept(case("goes silent on a kept connection", Does(&[Read, Say(GOOD), Read, Hang]), MENDED, LATE_ONCE, Transient, "")),
    kept(case("garbage on a kept connection", Does(&[Read, Say(GOOD), Read, Say(b"what?\r\n"), Hang]), MENDED, FAILED_ONCE, Transient, "status_line")),
    case("says more than it announced", Does(&[Read, Say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n"), Hang]), FINE, FINE, Success, "unasked"),
];
