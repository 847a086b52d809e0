//! The failures that the gateway answers itself, and what each is called wherever it is told.

use http::StatusCode;
use intertie_core::rejection::Policy;

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
    /// The rate limiter's quota is used up.
    RateLimited,
    /// The headers are more than the server takes.
    HeadersTooLarge,
    /// The gateway itself failed.
    InternalError,
    /// The body comes in a transfer coding that is not known here.
    NotImplemented,
    /// No connection to the service could be opened.
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
    /// An attempt took longer than its timeout.
    AttemptTimeout,
    /// The whole call took longer than its deadline.
    DeadlineExceeded,
    /// The request is of another major version of HTTP than its connection.
    VersionNotSupported,
}

/// What one code is called.
struct Names {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    grpc_status: GrpcStatus,
    /// The error type of `Proxy-Status` (RFC 9209, section 2.3).
    proxy_error: &'static str,
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
    /// All codes, in the order of the documentation.
    pub const ALL: [Self; 21] = [
        Self::BadRequest,
        Self::RouteNotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::UriTooLong,
        Self::ExpectationFailed,
        Self::MisdirectedRequest,
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
        Self::AttemptTimeout,
        Self::DeadlineExceeded,
        Self::VersionNotSupported,
    ];

    /// All names of each code, declared together.
    const fn names(self) -> Names {
        use GrpcStatus as Grpc;
        use StatusCode as Http;
        const fn names(
            status: StatusCode,
            code: &'static str,
            title: &'static str,
            grpc_status: GrpcStatus,
            proxy_error: &'static str,
        ) -> Names {
            Names { status, code, title, grpc_status, proxy_error }
        }
        const REQUEST: &str = "http_request_error";
        match self {
            Self::BadRequest => {
                names(Http::BAD_REQUEST, "BAD_REQUEST", "Bad Request", Grpc::Internal, REQUEST)
            }
            Self::RouteNotFound => names(
                Http::NOT_FOUND,
                "ROUTE_NOT_FOUND",
                "Route Not Found",
                Grpc::Unimplemented,
                "destination_not_found",
            ),
            Self::MethodNotAllowed => names(
                Http::METHOD_NOT_ALLOWED,
                "METHOD_NOT_ALLOWED",
                "Method Not Allowed",
                Grpc::Unimplemented,
                REQUEST,
            ),
            Self::RequestTimeout => names(
                Http::REQUEST_TIMEOUT,
                "REQUEST_TIMEOUT",
                "Request Timeout",
                Grpc::DeadlineExceeded,
                REQUEST,
            ),
            Self::BodyTooLarge => names(
                Http::PAYLOAD_TOO_LARGE,
                "BODY_TOO_LARGE",
                "Body Too Large",
                Grpc::ResourceExhausted,
                REQUEST,
            ),
            Self::UriTooLong => {
                names(Http::URI_TOO_LONG, "URI_TOO_LONG", "URI Too Long", Grpc::ResourceExhausted, REQUEST)
            }
            Self::ExpectationFailed => names(
                Http::EXPECTATION_FAILED,
                "EXPECTATION_FAILED",
                "Expectation Failed",
                Grpc::Internal,
                REQUEST,
            ),
            Self::MisdirectedRequest => names(
                Http::MISDIRECTED_REQUEST,
                "MISDIRECTED_REQUEST",
                "Misdirected Request",
                Grpc::Unimplemented,
                REQUEST,
            ),
            Self::RateLimited => names(
                Http::TOO_MANY_REQUESTS,
                "RATE_LIMITED",
                "Rate Limited",
                Grpc::ResourceExhausted,
                "http_request_denied",
            ),
            Self::HeadersTooLarge => names(
                Http::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "HEADERS_TOO_LARGE",
                "Headers Too Large",
                Grpc::ResourceExhausted,
                REQUEST,
            ),
            Self::InternalError => names(
                Http::INTERNAL_SERVER_ERROR,
                "INTERNAL_ERROR",
                "Internal Error",
                Grpc::Internal,
                "proxy_internal_error",
            ),
            Self::NotImplemented => names(
                Http::NOT_IMPLEMENTED,
                "NOT_IMPLEMENTED",
                "Not Implemented",
                Grpc::Unimplemented,
                REQUEST,
            ),
            Self::ServiceUnreachable => names(
                Http::BAD_GATEWAY,
                "SERVICE_UNREACHABLE",
                "Service Unreachable",
                Grpc::Unavailable,
                "destination_unavailable",
            ),
            Self::ServiceFailed => names(
                Http::BAD_GATEWAY,
                "SERVICE_FAILED",
                "Service Failed",
                Grpc::Unavailable,
                "http_protocol_error",
            ),
            Self::LoopDetected => names(
                Http::BAD_GATEWAY,
                "LOOP_DETECTED",
                "Loop Detected",
                Grpc::Internal,
                "proxy_loop_detected",
            ),
            Self::BulkheadFull => names(
                Http::SERVICE_UNAVAILABLE,
                "BULKHEAD_FULL",
                "Bulkhead Full",
                Grpc::Unavailable,
                "connection_limit_reached",
            ),
            Self::CircuitOpen => names(
                Http::SERVICE_UNAVAILABLE,
                "CIRCUIT_OPEN",
                "Circuit Open",
                Grpc::Unavailable,
                "destination_unavailable",
            ),
            Self::NoEndpoint => names(
                Http::SERVICE_UNAVAILABLE,
                "NO_ENDPOINT",
                "No Endpoint",
                Grpc::Unavailable,
                "destination_unavailable",
            ),
            Self::AttemptTimeout => names(
                Http::GATEWAY_TIMEOUT,
                "ATTEMPT_TIMEOUT",
                "Attempt Timeout",
                Grpc::Unavailable,
                "http_response_timeout",
            ),
            Self::DeadlineExceeded => names(
                Http::GATEWAY_TIMEOUT,
                "DEADLINE_EXCEEDED",
                "Deadline Exceeded",
                Grpc::DeadlineExceeded,
                "http_response_timeout",
            ),
            Self::VersionNotSupported => names(
                Http::HTTP_VERSION_NOT_SUPPORTED,
                "VERSION_NOT_SUPPORTED",
                "Version Not Supported",
                Grpc::Unimplemented,
                REQUEST,
            ),
        }
    }

    /// The stable code.
    pub const fn code(self) -> &'static str {
        self.names().code
    }

    /// The HTTP status.
    pub const fn status(self) -> StatusCode {
        self.names().status
    }

    pub(super) const fn title(self) -> &'static str {
        self.names().title
    }

    pub(super) const fn grpc_status(self) -> GrpcStatus {
        self.names().grpc_status
    }

    pub(super) const fn proxy_error(self) -> &'static str {
        self.names().proxy_error
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
