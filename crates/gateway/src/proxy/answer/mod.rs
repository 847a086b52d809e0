//! The gateway's own answers.

mod grpc;

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION, VARY};
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use intertie_core::clock::WallClock;
use intertie_core::quantity::format_duration;
use intertie_core::rejection::{Policy, Rejection};

use super::error_code::ErrorCode;
use super::headers::{Present, mark_exhausted};
use super::proxy_error::ProxyError;
use super::upgrade::{WEBSOCKET_VERSION, write_websocket};
use crate::config::ClientLimitsConfig;
use crate::document::{Document, prefers_problem, retry_after_value};
use crate::wire::Violation;

pub(super) use grpc::Dialect;

/// One failure to be answered.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: ErrorCode,
    pub(super) detail: String,
    pub(super) retry_after: Option<Duration>,
    /// For 405: the methods that routes want.
    pub(super) allow: Option<HeaderValue>,
    /// Whether the client is told which version of WebSocket there is.
    pub(super) tells_websocket_version: bool,
    /// The policy that rejected the call, to be counted when this is what the client gets.
    pub(super) rejected_by: Option<Policy>,
    /// Whether retries were used up or refused: the caller must not add its own.
    pub(super) exhausted: bool,
    /// What `Proxy-Status` says.
    pub(super) proxy_error: ProxyError,
}

impl Failure {
    pub(super) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let proxy_error = code.proxy_error();
        Self {
            code,
            detail,
            retry_after: None,
            allow: None,
            tells_websocket_version: false,
            rejected_by: None,
            exhausted: false,
            proxy_error,
        }
    }

    /// The same with what is known of its cause.
    pub(super) fn because(self, proxy_error: ProxyError) -> Self {
        Self { proxy_error, ..self }
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
            Violation::BodyRate => {
                (ErrorCode::RequestTimeout, format!(", {} a second", limits.body_rate_min))
            }
            Violation::UnknownCoding => (ErrorCode::NotImplemented, String::new()),
            Violation::MajorVersion => (ErrorCode::VersionNotSupported, String::new()),
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

    /// The answer as its client understands it.
    pub(super) fn into_response(self, manner: Manner, about: &About<'_>) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        if self.exhausted {
            mark_exhausted(headers);
        }
        if let Format::Grpc(dialect) = manner.format {
            let Self { code, detail, retry_after, exhausted, .. } = &self;
            grpc::write(headers, dialect, *code, detail, *retry_after, *exhausted);
            return response;
        }
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, retry_after_value(wait));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, allow);
        }
        if self.tells_websocket_version {
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(WEBSOCKET_VERSION));
        }
        if self.code == ErrorCode::UpgradeRequired {
            write_websocket(headers);
        }
        let About { request_id, route, clock, pages } = *about;
        let (code, detail) = (self.code, self.detail.as_str());
        let document = Document {
            status: code.status(),
            code: code.code(),
            title: code.title(),
            detail,
            pointer: None,
            request_id,
            route,
            at: clock.now(),
        };
        let (content_type, body) = if manner.format == Format::Problem {
            ("application/problem+json", document.problem(pages))
        } else {
            ("application/json", document.errors())
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        // Errors such as 404 may be kept by caches (RFC 9110, section 15.1).
        headers.insert(VARY, HeaderValue::from_static("accept"));
        if manner.is_head {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        *response.status_mut() = self.code.status();
        if !manner.is_head {
            *response.body_mut() = body;
        }
        response
    }
}

/// How a client wants to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) format: Format,
    /// Whether it asked for the head alone.
    pub(super) is_head: bool,
}

/// The forms of the gateway's own answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// S4's error format, the default.
    Errors,
    /// Problem documents, for clients that ask for them.
    Problem,
    /// A status of gRPC, for its calls.
    Grpc(Dialect),
}

impl Manner {
    /// For a client of which nothing is known.
    pub(super) const DEFAULT: Self = Self { format: Format::Errors, is_head: false };

    pub(super) fn of(request: &Parts, present: Present) -> Self {
        let format = if present.any(Present::GRPC) {
            let content_type = request.headers.get(CONTENT_TYPE);
            content_type.and_then(|value| Dialect::of(value.as_bytes())).map_or(Format::Errors, Format::Grpc)
        } else if present.any(Present::PROBLEM) {
            let values = request.headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes);
            if prefers_problem(values) { Format::Problem } else { Format::Errors }
        } else {
            Format::Errors
        };
        Self { format, is_head: request.method == Method::HEAD }
    }

    pub(super) fn is_grpc(self) -> bool {
        matches!(self.format, Format::Grpc(_))
    }
}

/// What an answer tells beside its failure.
pub(super) struct About<'a> {
    pub(super) request_id: &'a str,
    pub(super) route: Option<&'a str>,
    pub(super) clock: &'a WallClock,
    /// Where the pages of the error codes begin.
    pub(super) pages: Option<&'a str>,
}
