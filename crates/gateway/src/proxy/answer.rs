//! The gateway's own answers.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use intertie_core::clock::WallClock;
use intertie_core::quantity::format_duration;
use intertie_core::rejection::{Policy, Rejection};
use serde_json::json;

use crate::config::ClientLimitsConfig;
use crate::wire::Violation;

/// Every failure that the gateway answers itself. The code is stable and has a page in `docs/errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// The request can be read in more than one way.
    BadRequest,
    /// No route wants this host and path.
    RouteNotFound,
    /// Routes want this path with other methods.
    MethodNotAllowed,
    /// The client took too long to send its body.
    RequestTimeout,
    /// The body is longer than the route allows.
    BodyTooLarge,
    /// The target is longer than the server takes.
    UriTooLong,
    /// The headers are more than the server takes.
    HeadersTooLarge,
    /// The rate limiter's quota is used up.
    RateLimited,
    /// The bulkhead and its queue are full, or the wait in it was too long.
    BulkheadFull,
    /// Every endpoint's circuit breaker is open.
    CircuitOpen,
    /// No endpoint is healthy.
    NoEndpoint,
    /// No connection to the service could be opened.
    ServiceUnreachable,
    /// The service closed the connection or sent no valid HTTP.
    ServiceFailed,
    /// An attempt took longer than its timeout.
    AttemptTimeout,
    /// The whole call took longer than its deadline.
    DeadlineExceeded,
    /// The gateway itself failed.
    InternalError,
}

impl ErrorCode {
    /// All codes, in the order of the documentation.
    pub const ALL: [Self; 16] = [
        Self::BadRequest,
        Self::RouteNotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::UriTooLong,
        Self::HeadersTooLarge,
        Self::RateLimited,
        Self::BulkheadFull,
        Self::CircuitOpen,
        Self::NoEndpoint,
        Self::ServiceUnreachable,
        Self::ServiceFailed,
        Self::AttemptTimeout,
        Self::DeadlineExceeded,
        Self::InternalError,
    ];

    /// The status, the stable code and the title of each variant, declared together.
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, "BAD_REQUEST", "Bad Request"),
            Self::RouteNotFound => (StatusCode::NOT_FOUND, "ROUTE_NOT_FOUND", "Route Not Found"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "Method Not Allowed")
            }
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", "Request Timeout"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", "Body Too Large"),
            Self::UriTooLong => (StatusCode::URI_TOO_LONG, "URI_TOO_LONG", "URI Too Long"),
            Self::HeadersTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "HEADERS_TOO_LARGE", "Headers Too Large")
            }
            Self::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", "Rate Limited"),
            Self::BulkheadFull => (StatusCode::SERVICE_UNAVAILABLE, "BULKHEAD_FULL", "Bulkhead Full"),
            Self::CircuitOpen => (StatusCode::SERVICE_UNAVAILABLE, "CIRCUIT_OPEN", "Circuit Open"),
            Self::NoEndpoint => (StatusCode::SERVICE_UNAVAILABLE, "NO_ENDPOINT", "No Endpoint"),
            Self::ServiceUnreachable => {
                (StatusCode::BAD_GATEWAY, "SERVICE_UNREACHABLE", "Service Unreachable")
            }
            Self::ServiceFailed => (StatusCode::BAD_GATEWAY, "SERVICE_FAILED", "Service Failed"),
            Self::AttemptTimeout => (StatusCode::GATEWAY_TIMEOUT, "ATTEMPT_TIMEOUT", "Attempt Timeout"),
            Self::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED", "Deadline Exceeded"),
            Self::InternalError => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "Internal Error"),
        }
    }

    /// The stable code.
    pub const fn code(self) -> &'static str {
        self.parts().1
    }

    /// The HTTP status.
    pub const fn status(self) -> StatusCode {
        self.parts().0
    }

    /// The code for a rejection by `policy`.
    const fn of_rejection(policy: Policy) -> Self {
        match policy {
            Policy::RateLimiter => Self::RateLimited,
            // All of them bound who may wait; of these, a route has a bulkhead only.
            Policy::Bulkhead
            | Policy::Coalesce
            | Policy::Batch
            | Policy::Pool
            | Policy::Hedge
            | Policy::Chaos => Self::BulkheadFull,
            Policy::CircuitBreaker => Self::CircuitOpen,
            Policy::Balance => Self::NoEndpoint,
            Policy::AttemptTimeout => Self::AttemptTimeout,
            Policy::Deadline | Policy::Retry => Self::DeadlineExceeded,
        }
    }
}

/// One failure to be answered.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: ErrorCode,
    pub(super) detail: String,
    pub(super) retry_after: Option<Duration>,
    /// For 405: the methods that routes want.
    pub(super) allow: Option<HeaderValue>,
    /// The policy that rejected the call, to be counted when this is what the client gets.
    pub(super) rejected_by: Option<Policy>,
    /// Whether retries were used up or refused: the caller must not add its own.
    pub(super) exhausted: bool,
}

impl Failure {
    pub(super) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { code, detail, retry_after: None, allow: None, rejected_by: None, exhausted: false }
    }

    /// A request that was refused unread.
    pub(super) fn refused(violation: Violation, limits: &ClientLimitsConfig) -> Self {
        let (code, limit) = match violation {
            Violation::HeaderBytes => (ErrorCode::HeadersTooLarge, format!(", {}", limits.header_bytes_max)),
            Violation::Headers => (ErrorCode::HeadersTooLarge, format!(", {}", limits.headers_max)),
            Violation::UriBytes => (ErrorCode::UriTooLong, format!(", {}", limits.uri_bytes_max)),
            Violation::HeaderTimeout => {
                (ErrorCode::RequestTimeout, format!(", {}", format_duration(limits.header_timeout)))
            }
            Violation::BodyTimeout => {
                (ErrorCode::RequestTimeout, format!(", {}", format_duration(limits.body_timeout)))
            }
            _ => (ErrorCode::BadRequest, String::new()),
        };
        Self::new(code, format!("{violation}{limit}"))
    }

    pub(super) fn rejected(rejection: Rejection) -> Self {
        let code = ErrorCode::of_rejection(rejection.by);
        let retry_after = rejection.retry_after;
        Self { retry_after, rejected_by: Some(rejection.by), ..Self::new(code, rejection.to_string()) }
    }

    pub(super) fn deadline_exceeded() -> Self {
        let failure = Self::new(ErrorCode::DeadlineExceeded, "the deadline of the call is over");
        Self { rejected_by: Some(Policy::Deadline), ..failure }
    }

    /// The answer in S4's error format.
    pub(super) fn into_response(
        self,
        request_id: &str,
        route: Option<&str>,
        clock: &WallClock,
    ) -> Response<Bytes> {
        let (status, code, title) = self.code.parts();
        let mut meta = json!({ "timestamp": clock.now().to_string(), "requestId": request_id });
        if let Some(route) = route {
            meta["route"] = route.into();
        }
        let document = json!({ "errors": [{
            "id": request_id,
            "status": status.as_str(),
            "code": code,
            "title": title,
            "detail": self.detail,
            "meta": meta,
        }] });
        let mut response = Response::new(Bytes::from(document.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, retry_after_value(wait));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, allow);
        }
        response
    }
}

/// `Retry-After` counts whole seconds; rounding up keeps the hint from firing early.
pub(super) fn retry_after_value(wait: Duration) -> HeaderValue {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    HeaderValue::from(seconds.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_never_early() {
        for (millis, seconds) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2")] {
            assert_eq!(retry_after_value(Duration::from_millis(millis)), seconds);
        }
    }
}
