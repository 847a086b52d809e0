use std::time::{Duration, UNIX_EPOCH};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use intertie_core::clock::WallClock;
use intertie_core::failure::Class;

use super::{EXHAUSTED, INTERTIE_RETRY, digits, number};
use crate::pipeline::Verdict;

const GRPC_STATUS: &str = "grpc-status";
const GRPC_PUSHBACK: &str = "grpc-retry-pushback-ms";

/// What the head of an answer means: [`Class::of_http_status`], the wait that `Retry-After` asks for, and
/// whether a tier further down has used up its own attempts. `clock` is for a `Retry-After` that is a date.
pub fn verdict(status: StatusCode, headers: &HeaderMap, clock: &WallClock) -> Verdict {
    Verdict {
        class: Class::of_http_status(status.as_u16()),
        retry_after: retry_after(headers, clock),
        exhausted: is_exhausted(headers),
    }
}

/// The same for gRPC: [`Class::of_grpc_status`], and the wait that `grpc-retry-pushback-ms` asks for, where a
/// negative or malformed one forbids a repetition (gRFC A6).
///
/// A failure that has no message beside it carries both in its head, and nearly all have none. Without a
/// `grpc-status` in the head the call went well so far, or its answer is none of gRPC: then the status of HTTP
/// decides.
pub fn grpc_verdict(status: StatusCode, headers: &HeaderMap, clock: &WallClock) -> Verdict {
    let http = verdict(status, headers, clock);
    let Some(code) = headers.get(GRPC_STATUS).and_then(number) else { return http };
    let pushback = headers.get(GRPC_PUSHBACK).and_then(|value| value.to_str().ok());
    let wait = pushback.and_then(digits).map(Duration::from_millis);
    Verdict {
        class: Class::of_grpc_status(u32::try_from(code).unwrap_or(u32::MAX)),
        retry_after: http.retry_after.max(wait),
        exhausted: http.exhausted || (pushback.is_some() && wait.is_none()),
    }
}

/// `Retry-After`, in seconds or as a date (RFC 9110, section 10.2.3). A date that is past asks for no wait.
pub fn retry_after(headers: &HeaderMap, clock: &WallClock) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?;
    if let Some(seconds) = number(value) {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    let at = at.duration_since(UNIX_EPOCH).ok()?;
    Some(at.saturating_sub(Duration::from_nanos(clock.now().as_unix_nanos())))
}

fn is_exhausted(headers: &HeaderMap) -> bool {
    headers.get(INTERTIE_RETRY).is_some_and(|value| value == EXHAUSTED)
}
