use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::failure::Class;
use intertie_core::rejection::{Policy, Rejection};

use super::*;
use crate::MonotonicClock;
use crate::pipeline::{AttemptError, CallError, Cx, Exhausted, Verdict};

const SECOND: Duration = Duration::from_secs(1);

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    pairs.iter().map(pair).collect()
}

#[test]
fn an_answer_says_what_it_means_and_how_long_to_wait() {
    let clock = WallClock::fixed(Timestamp::from_unix_seconds(784_111_770));
    let read = |status: u16, pairs: &[_]| {
        verdict(StatusCode::from_u16(status).expect("a status"), &headers(pairs), &clock)
    };
    assert_eq!(read(200, &[]), Class::Success.into());
    assert_eq!(read(404, &[]), Class::Permanent.into());
    let waits = |class, seconds| Verdict { retry_after: Some(seconds * SECOND), ..Verdict::from(class) };
    assert_eq!(read(429, &[("retry-after", "7")]), waits(Class::Throttled, 7));
    assert_eq!(read(503, &[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]), waits(Class::Unavailable, 7));
    assert_eq!(read(503, &[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")]), waits(Class::Unavailable, 0));
    for malformed in ["soon", "+5", "-5", ""] {
        assert_eq!(read(503, &[("retry-after", malformed)]), Class::Unavailable.into(), "{malformed:?}");
    }
    let exhausted = Verdict { exhausted: true, ..Class::Transient.into() };
    assert_eq!(read(502, &[("intertie-retry", "exhausted")]), exhausted);
    assert_eq!(read(502, &[("intertie-retry", "1")]), Class::Transient.into());
}

#[test]
fn an_answer_of_grpc_is_judged_by_its_own_status() {
    let clock = WallClock::system();
    let read = |status: StatusCode, pairs: &[_]| grpc_verdict(status, &headers(pairs), &clock);
    let ok = |pairs: &[_]| read(StatusCode::OK, pairs);
    assert_eq!(ok(&[]).class, Class::Success);
    assert_eq!(ok(&[("grpc-status", "0")]).class, Class::Success);
    assert_eq!(ok(&[("grpc-status", "14")]).class, Class::Unavailable);
    assert_eq!(ok(&[("grpc-status", "8")]).class, Class::Throttled);
    assert_eq!(ok(&[("grpc-status", "99999999999")]).class, Class::Transient);
    assert_eq!(read(StatusCode::BAD_GATEWAY, &[]).class, Class::Transient, "a proxy that speaks no gRPC");
    let pushed = ok(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", "2000")]);
    assert_eq!((pushed.retry_after, pushed.exhausted), (Some(2 * SECOND), false));
    for forbids in ["-1", "+5", "soon", ""] {
        let forbidden = ok(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", forbids)]);
        assert_eq!((forbidden.retry_after, forbidden.exhausted), (None, true), "{forbids:?}");
    }
    assert_eq!(ok(&[("grpc-status", "+14")]).class, Class::Success, "malformed counts as absent");
}

#[test]
fn methods_and_keys_make_a_request_repeatable() {
    let none = HeaderMap::new();
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        assert!(is_idempotent(&method.parse().expect("a method"), &none), "{method}");
    }
    for method in ["POST", "PATCH", "CONNECT", "MERGE"] {
        assert!(!is_idempotent(&method.parse().expect("a method"), &none), "{method}");
    }
    let keyed = headers(&[("idempotency-key", "order-7")]);
    assert!(is_idempotent(&Method::POST, &keyed));
    assert_eq!(idempotency_key(&keyed), Some("order-7"));
}

#[test]
fn the_shorter_deadline_wins_and_garbage_counts_as_absent() {
    let read = |pairs: &[_]| remaining(&headers(pairs));
    assert_eq!(read(&[("intertie-deadline", "250"), ("grpc-timeout", "1S")]), Some(SECOND / 4));
    assert_eq!(read(&[("intertie-deadline", "2500"), ("grpc-timeout", "1S")]), Some(SECOND));
    for (text, time) in
        [("2H", 7200 * SECOND), ("3M", 180 * SECOND), ("1000000u", SECOND), ("5n", SECOND / 200_000_000)]
    {
        assert_eq!(read(&[("grpc-timeout", text)]), Some(time), "{text}");
    }
    for garbage in ["", "-1", "1x", "S", "999999999S", "1 S", "+5", "+5S"] {
        assert_eq!(read(&[("grpc-timeout", garbage)]), None, "{garbage:?}");
        assert_eq!(read(&[("intertie-deadline", garbage)]), None, "{garbage:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_marked_with_its_time_and_number() {
    let cx = |attempt, left: Option<Duration>| {
        let until = left.map(|left| MonotonicClock::now() + left);
        Cx { attempt, until, idempotency_key: None }
    };
    let marked = |pairs, cx: Cx| {
        let mut headers = headers(pairs);
        write_marks(&mut headers, &cx);
        write_grpc_timeout(&mut headers, &cx);
        let text = |name| headers.get(name).map(|value| value.to_str().expect("text").to_owned());
        (text("intertie-attempt").expect("always"), text("intertie-deadline"), text("grpc-timeout"))
    };
    let attempt = |number: &str| (number.to_owned(), None, None);
    assert_eq!(marked(&[], cx(1, None)), attempt("1"));
    assert_eq!(marked(&[("intertie-attempt", "2")], cx(1, None)), attempt("2"), "our caller's second");
    assert_eq!(marked(&[("intertie-attempt", "2")], cx(3, None)), attempt("3"));
    let (_, deadline, grpc) = marked(&[("grpc-timeout", "9S")], cx(1, Some(1_500 * SECOND / 1_000)));
    assert_eq!((deadline.as_deref(), grpc.as_deref()), (Some("1500"), Some("1500m")));
    let (_, _, grpc) = marked(&[], cx(1, Some(1_000_000 * SECOND)));
    assert_eq!(grpc.as_deref(), Some("99999999m"));
}

#[test]
fn a_call_that_a_policy_ended_is_answered_with_its_reason_and_its_wait() {
    let answered = |error: CallError<()>| {
        let response = answer(&error);
        let text = |name| response.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        (response.status().as_u16(), text("retry-after"), text("intertie-retry"))
    };
    let rejected = |by, wait| CallError::Rejected(Rejection { by, bound: "bound", retry_after: wait });
    let seconds = |text: &str| Some(text.to_owned());
    let tenth = Some(SECOND / 10);
    assert_eq!(answered(rejected(Policy::RateLimiter, tenth)), (429, seconds("1"), None));
    assert_eq!(answered(rejected(Policy::Bulkhead, Some(2 * SECOND))), (503, seconds("2"), None));
    assert_eq!(answered(rejected(Policy::CircuitBreaker, None)), (503, None, None));
    assert_eq!(answered(rejected(Policy::Deadline, None)), (504, None, None));
    assert_eq!(answered(CallError::DeadlineExceeded), (504, None, None));
    assert_eq!(answered(CallError::AttemptTimeout), (504, None, None));
    assert_eq!(answered(CallError::Injected), (503, None, None));
    assert_eq!(answered(CallError::Operation(())), (502, None, None));
    for (last, status) in
        [(AttemptError::Operation(()), 502), (AttemptError::Timeout, 504), (AttemptError::Injected, 503)]
    {
        let exhausted = Exhausted { last, attempts: 2, used_up: true, history: Vec::new() };
        let expected = (status, None, seconds("exhausted"));
        assert_eq!(answered(CallError::Exhausted(Box::new(exhausted))), expected);
    }
}
