use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};

use super::{INTERTIE_ATTEMPT, INTERTIE_DEADLINE, digits, number};
use crate::pipeline::Cx;

const GRPC_TIMEOUT: &str = "grpc-timeout";
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// gRPC sends at most eight digits.
const GRPC_TIMEOUT_MAX: u64 = 99_999_999;

/// Whether making the request twice does no harm: by its method (RFC 9110, section 9.2.2), or since its receiver
/// recognises a repetition by its `Idempotency-Key`.
pub fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    let by_method = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE];
    by_method.contains(method) || headers.contains_key(IDEMPOTENCY_KEY)
}

/// The key by which the receiver recognises a repetition.
pub fn idempotency_key(headers: &HeaderMap) -> Option<&str> {
    headers.get(IDEMPOTENCY_KEY)?.to_str().ok()
}

/// What the caller's own deadline leaves: the shorter of `Intertie-Deadline` and `grpc-timeout`.
pub fn remaining(headers: &HeaderMap) -> Option<Duration> {
    let deadline = headers.get(INTERTIE_DEADLINE).and_then(number).map(Duration::from_millis);
    let grpc = headers.get(GRPC_TIMEOUT).and_then(grpc_timeout);
    [deadline, grpc].into_iter().flatten().min()
}

/// Tells the receiver how long the attempt may take, and that it is a repetition. What the request already says
/// about earlier attempts stays when this is the first one here.
pub fn write_marks(headers: &mut HeaderMap, cx: &Cx) {
    if let Some(remaining) = cx.remaining() {
        headers.insert(INTERTIE_DEADLINE, HeaderValue::from(millis(remaining)));
    }
    if cx.attempt() > 1 || !headers.contains_key(INTERTIE_ATTEMPT) {
        headers.insert(INTERTIE_ATTEMPT, HeaderValue::from(cx.attempt()));
    }
}

/// Tells a gRPC server how long the attempt may take.
pub fn write_grpc_timeout(headers: &mut HeaderMap, cx: &Cx) {
    let Some(remaining) = cx.remaining() else { return };
    let millis = millis(remaining).min(GRPC_TIMEOUT_MAX);
    if let Ok(value) = HeaderValue::try_from(format!("{millis}m")) {
        headers.insert(GRPC_TIMEOUT, value);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// gRPC's `TimeoutValue TimeoutUnit`: at most eight digits and one of `HMSmun`.
fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (amount, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if amount.len() > 8 {
        return None;
    }
    let amount = digits(amount)?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}
