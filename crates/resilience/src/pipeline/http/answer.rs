use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use intertie_core::rejection::Policy;

use super::{EXHAUSTED, INTERTIE_RETRY};
use crate::pipeline::{AttemptError, CallError};

/// The head of the answer to a caller whose call ended in `error`.
///
/// | error | status |
/// |---|---|
/// | rejected by the rate limiter | 429 |
/// | rejected by another policy, or made to fail by chaos | 503 |
/// | deadline or attempt timeout | 504 |
/// | the operation's own | 502 |
///
/// `Retry-After` says when the policy that rejected may admit again, in seconds and never too early;
/// `Intertie-Retry: exhausted` that attempts were used up here.
pub fn answer<E>(error: &CallError<E>) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status(error);
    if let Some(wait) = error.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
    }
    if error.is_exhausted() {
        write_exhausted(response.headers_mut());
    }
    response
}

/// Says that attempts were used up for this answer, so that whoever gets it makes no more.
pub fn write_exhausted(headers: &mut HeaderMap) {
    headers.insert(INTERTIE_RETRY, HeaderValue::from_static(EXHAUSTED));
}

fn status<E>(error: &CallError<E>) -> StatusCode {
    match error {
        CallError::Rejected(rejection) => match rejection.by {
            Policy::RateLimiter => StatusCode::TOO_MANY_REQUESTS,
            Policy::Deadline => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        },
        CallError::DeadlineExceeded | CallError::AttemptTimeout => StatusCode::GATEWAY_TIMEOUT,
        CallError::Injected => StatusCode::SERVICE_UNAVAILABLE,
        CallError::Operation(_) => StatusCode::BAD_GATEWAY,
        CallError::Exhausted(exhausted) => match exhausted.last {
            AttemptError::Operation(_) => StatusCode::BAD_GATEWAY,
            AttemptError::Timeout => StatusCode::GATEWAY_TIMEOUT,
            AttemptError::Injected => StatusCode::SERVICE_UNAVAILABLE,
        },
    }
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
