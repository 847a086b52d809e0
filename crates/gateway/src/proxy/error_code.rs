//! The failures that the gateway answers itself, and what each is called wherever it is told.

use http::StatusCode;
use intertie_core::rejection::Policy;

use super::proxy_error::ProxyError;

/// Every failure that the gateway answers itself. The code is stable and has a page in `docs/errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// The request can be read in more than one way.
    BadRequest,
    /// No route wants this host and path.
    RouteNotFound,
    /// Routes want this path with other methods.
    MethodNotAllowed,
    /// The client took too long to send its headers or its body.
    RequestTimeout,
    /// The body is longer than the route allows.
    BodyTooLarge,
    /// The target is longer than the server takes.
    UriTooLong,
    /// The request expects something else than `100-continue`.
    ExpectationFailed,
    /// The connection was secured for another host.
    MisdirectedRequest,
    /// A WebSocket is asked for in another version than there is.
    UpgradeRequired,
    /// The rate limiter's quota is used up.
    RateLimited,
    /// The headers are more than the server takes.
    HeadersTooLarge,
    /// The gateway itself failed.
    InternalError,
    /// The body comes in a transfer coding that is not known here.
    NotImplemented,
    /// No connection to the service could be opened, for another reason than the time.
    ServiceUnreachable,
    /// The service closed the connection or sent no valid HTTP.
    ServiceFailed,
    /// The request has passed more gateways than any path has.
    LoopDetected,
    /// The bulkhead and its queue are full, or the wait in it was too long.
    BulkheadFull,
    /// Every endpoint's circuit breaker is open.
    CircuitOpen,
    /// No endpoint is healthy.
    NoEndpoint,
    /// No connection to the service was open in time.
    ConnectTimeout,
    /// The service fell silent on a connection that was open.
    ServiceSilent,
    /// An attempt took longer than its timeout.
    AttemptTimeout,
    /// The whole call took longer than its deadline.
    DeadlineExceeded,
    /// The request is of another major version of HTTP than its connection.
    VersionNotSupported,
}

/// The status codes of gRPC that the gateway answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrpcStatus {
    DeadlineExceeded = 4,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

impl ErrorCode {
    /// All codes, by their status.
    pub const ALL: [Self; 24] = [
        Self::BadRequest,
        Self::RouteNotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::UriTooLong,
        Self::ExpectationFailed,
        Self::MisdirectedRequest,
        Self::UpgradeRequired,
        Self::RateLimited,
        Self::HeadersTooLarge,
        Self::InternalError,
        Self::NotImplemented,
        Self::ServiceUnreachable,
        Self::ServiceFailed,
        Self::LoopDetected,
        Self::BulkheadFull,
        Self::CircuitOpen,
        Self::NoEndpoint,
        Self::ConnectTimeout,
        Self::ServiceSilent,
        Self::AttemptTimeout,
        Self::DeadlineExceeded,
        Self::VersionNotSupported,
    ];

    /// The status, the stable code and the title of each variant, declared together.
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as Http;
        match self {
            Self::BadRequest => (Http::BAD_REQUEST, "BAD_REQUEST", "Bad Request"),
            Self::RouteNotFound => (Http::NOT_FOUND, "ROUTE_NOT_FOUND", "Route Not Found"),
            Self::MethodNotAllowed => (Http::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "Method Not Allowed"),
            Self::RequestTimeout => (Http::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", "Request Timeout"),
            Self::BodyTooLarge => (Http::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", "Body Too Large"),
            Self::UriTooLong => (Http::URI_TOO_LONG, "URI_TOO_LONG", "URI Too Long"),
            Self::ExpectationFailed => (Http::EXPECTATION_FAILED, "EXPECTATION_FAILED", "Expectation Failed"),
            Self::MisdirectedRequest => {
                (Http::MISDIRECTED_REQUEST, "MISDIRECTED_REQUEST", "Misdirected Request")
            }
            Self::UpgradeRequired => (Http::UPGRADE_REQUIRED, "UPGRADE_REQUIRED", "Upgrade Required"),
            Self::RateLimited => (Http::TOO_MANY_REQUESTS, "RATE_LIMITED", "Rate Limited"),
            Self::HeadersTooLarge => {
                (Http::REQUEST_HEADER_FIELDS_TOO_LARGE, "HEADERS_TOO_LARGE", "Headers Too Large")
            }
            Self::InternalError => (Http::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "Internal Error"),
            Self::NotImplemented => (Http::NOT_IMPLEMENTED, "NOT_IMPLEMENTED", "Not Implemented"),
            Self::ServiceUnreachable => (Http::BAD_GATEWAY, "SERVICE_UNREACHABLE", "Service Unreachable"),
            Self::ServiceFailed => (Http::BAD_GATEWAY, "SERVICE_FAILED", "Service Failed"),
            Self::LoopDetected => (Http::BAD_GATEWAY, "LOOP_DETECTED", "Loop Detected"),
            Self::BulkheadFull => (Http::SERVICE_UNAVAILABLE, "BULKHEAD_FULL", "Bulkhead Full"),
            Self::CircuitOpen => (Http::SERVICE_UNAVAILABLE, "CIRCUIT_OPEN", "Circuit Open"),
            Self::NoEndpoint => (Http::SERVICE_UNAVAILABLE, "NO_ENDPOINT", "No Endpoint"),
            Self::ConnectTimeout => (Http::GATEWAY_TIMEOUT, "CONNECT_TIMEOUT", "Connect Timeout"),
            Self::ServiceSilent => (Http::GATEWAY_TIMEOUT, "SERVICE_SILENT", "Service Silent"),
            Self::AttemptTimeout => (Http::GATEWAY_TIMEOUT, "ATTEMPT_TIMEOUT", "Attempt Timeout"),
            Self::DeadlineExceeded => (Http::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED", "Deadline Exceeded"),
            Self::VersionNotSupported => {
                (Http::HTTP_VERSION_NOT_SUPPORTED, "VERSION_NOT_SUPPORTED", "Version Not Supported")
            }
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

    pub(super) const fn title(self) -> &'static str {
        self.parts().2
    }

    /// The status that calls of gRPC are answered with.
    pub(super) const fn grpc_status(self) -> GrpcStatus {
        match self {
            Self::DeadlineExceeded | Self::RequestTimeout => GrpcStatus::DeadlineExceeded,
            Self::RateLimited | Self::BodyTooLarge | Self::UriTooLong | Self::HeadersTooLarge => {
                GrpcStatus::ResourceExhausted
            }
            Self::RouteNotFound
            | Self::MethodNotAllowed
            | Self::MisdirectedRequest
            | Self::UpgradeRequired
            | Self::NotImplemented
            | Self::VersionNotSupported => GrpcStatus::Unimplemented,
            Self::BadRequest | Self::ExpectationFailed | Self::LoopDetected | Self::InternalError => {
                GrpcStatus::Internal
            }
            Self::BulkheadFull
            | Self::CircuitOpen
            | Self::NoEndpoint
            | Self::ServiceUnreachable
            | Self::ServiceFailed
            | Self::ConnectTimeout
            | Self::ServiceSilent
            | Self::AttemptTimeout => GrpcStatus::Unavailable,
        }
    }

    /// What clients are told in `Proxy-Status`, unless more is known.
    pub(super) const fn proxy_error(self) -> ProxyError {
        match self {
            Self::BadRequest
            | Self::MethodNotAllowed
            | Self::RequestTimeout
            | Self::BodyTooLarge
            | Self::UriTooLong
            | Self::ExpectationFailed
            | Self::MisdirectedRequest
            | Self::UpgradeRequired
            | Self::HeadersTooLarge
            | Self::NotImplemented
            | Self::VersionNotSupported => ProxyError::HttpRequestError,
            Self::RateLimited => ProxyError::HttpRequestDenied,
            Self::RouteNotFound => ProxyError::DestinationNotFound,
            Self::ServiceUnreachable | Self::CircuitOpen | Self::NoEndpoint => {
                ProxyError::DestinationUnavailable
            }
            Self::BulkheadFull => ProxyError::ConnectionLimitReached,
            Self::ServiceFailed => ProxyError::HttpProtocolError,
            Self::ConnectTimeout => ProxyError::ConnectionTimeout,
            Self::ServiceSilent => ProxyError::ConnectionReadTimeout,
            Self::AttemptTimeout | Self::DeadlineExceeded => ProxyError::HttpResponseTimeout,
            Self::LoopDetected => ProxyError::ProxyLoopDetected,
            Self::InternalError => ProxyError::ProxyInternalError,
        }
    }

    /// The code for a connection that could not be opened: whatever took too long is a 504 (RFC 9110, section
    /// 15.6.5; RFC 9209, section 2.3).
    pub(super) const fn of_unopened(error: ProxyError) -> Self {
        if error.is_timeout() { Self::ConnectTimeout } else { Self::ServiceUnreachable }
    }

    /// The same for one that was open and gave no answer.
    pub(super) const fn of_unanswered(error: ProxyError) -> Self {
        if error.is_timeout() { Self::ServiceSilent } else { Self::ServiceFailed }
    }

    /// The code for a rejection by `policy`.
    pub(super) const fn of_rejection(policy: Policy) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes in the second column of the rows of the page that begin with `first`.
    fn documented(first: &str) -> Vec<&'static str> {
        const PAGE: &str = include_str!("../../../../docs/patterns/answers.md");
        let begin = format!("| {first}");
        let rows = PAGE.lines().filter_map(|line| line.strip_prefix(&begin)?.split('|').nth(1));
        rows.flat_map(|codes| codes.split('`').skip(1).step_by(2)).collect()
    }

    #[test]
    fn each_code_is_told_to_grpc_and_in_proxy_status_as_its_page_says() {
        for code in ErrorCode::ALL {
            let status = code.grpc_status() as u8;
            assert!(documented(&format!("{status}, ")).contains(&code.code()), "{code:?}: {status}");
            let error = code.proxy_error().name();
            assert!(documented(&format!("`{error}` ")).contains(&code.code()), "{code:?}: {error}");
        }
    }
}
