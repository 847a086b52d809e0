//! What the API answers when it does not do what was asked for.

use std::time::Duration;

use http::StatusCode;
use intertie_core::envelope::{EnvelopeError, Reason};
use intertie_messaging::commit::{CommitError, Refused};
use intertie_messaging::{EngineError, Name};

use crate::store::Absent;

/// Every failure of the API. The code is stable and has a page in `docs/errors`; those that the gateway has too mean
/// the same there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ApiCode {
    BadRequest,
    InvalidEvent,
    NotDeclared,
    LimitExceeded,
    Unauthenticated,
    Forbidden,
    NotFound,
    QueueNotFound,
    MessageNotFound,
    MethodNotAllowed,
    RequestTimeout,
    StaleLease,
    QueueExclusive,
    BodyTooLarge,
    MessageTooLarge,
    BatchTooLarge,
    UnsupportedMediaType,
    QueueFull,
    RateLimited,
    OutcomeUnknown,
    EngineOverloaded,
    EngineUnavailable,
    StorageFull,
}

impl ApiCode {
    /// The status, the stable code and the title of each variant, declared together.
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as Http;
        match self {
            Self::BadRequest => (Http::BAD_REQUEST, "BAD_REQUEST", "Bad Request"),
            Self::InvalidEvent => (Http::BAD_REQUEST, "INVALID_EVENT", "Invalid Event"),
            Self::NotDeclared => (Http::BAD_REQUEST, "NOT_DECLARED", "Not Declared"),
            Self::LimitExceeded => (Http::BAD_REQUEST, "LIMIT_EXCEEDED", "Limit Exceeded"),
            Self::Unauthenticated => (Http::UNAUTHORIZED, "UNAUTHENTICATED", "Unauthenticated"),
            Self::Forbidden => (Http::FORBIDDEN, "FORBIDDEN", "Forbidden"),
            Self::NotFound => (Http::NOT_FOUND, "NOT_FOUND", "Not Found"),
            Self::QueueNotFound => (Http::NOT_FOUND, "QUEUE_NOT_FOUND", "Queue Not Found"),
            Self::MessageNotFound => (Http::NOT_FOUND, "MESSAGE_NOT_FOUND", "Message Not Found"),
            Self::MethodNotAllowed => (Http::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "Method Not Allowed"),
            Self::RequestTimeout => (Http::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", "Request Timeout"),
            Self::StaleLease => (Http::CONFLICT, "STALE_LEASE", "Stale Lease"),
            Self::QueueExclusive => (Http::CONFLICT, "QUEUE_EXCLUSIVE", "Queue Exclusive"),
            Self::BodyTooLarge => (Http::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", "Body Too Large"),
            Self::MessageTooLarge => (Http::PAYLOAD_TOO_LARGE, "MESSAGE_TOO_LARGE", "Message Too Large"),
            Self::BatchTooLarge => (Http::PAYLOAD_TOO_LARGE, "BATCH_TOO_LARGE", "Batch Too Large"),
            Self::UnsupportedMediaType => {
                (Http::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", "Unsupported Media Type")
            }
            Self::QueueFull => (Http::TOO_MANY_REQUESTS, "QUEUE_FULL", "Queue Full"),
            Self::RateLimited => (Http::TOO_MANY_REQUESTS, "RATE_LIMITED", "Rate Limited"),
            Self::OutcomeUnknown => (Http::INTERNAL_SERVER_ERROR, "OUTCOME_UNKNOWN", "Outcome Unknown"),
            Self::EngineOverloaded => (Http::SERVICE_UNAVAILABLE, "ENGINE_OVERLOADED", "Engine Overloaded"),
            Self::EngineUnavailable => {
                (Http::SERVICE_UNAVAILABLE, "ENGINE_UNAVAILABLE", "Engine Unavailable")
            }
            Self::StorageFull => (Http::INSUFFICIENT_STORAGE, "STORAGE_FULL", "Storage Full"),
        }
    }

    pub(super) const fn status(self) -> StatusCode {
        self.parts().0
    }

    pub(super) const fn code(self) -> &'static str {
        self.parts().1
    }

    pub(super) const fn title(self) -> &'static str {
        self.parts().2
    }
}

/// One request that is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: ApiCode,
    pub(super) detail: String,
    /// The queue that was most likely meant, told to those who may know of it.
    pub(super) nearest: Option<Name>,
    /// To what is wrong in the body, in the words of RFC 6901.
    pub(super) pointer: Option<String>,
    pub(super) retry_after: Option<Duration>,
    /// For 405: the methods of the resource.
    pub(super) allow: Option<&'static str>,
}

/// When to come back where nobody knows.
const SOON: Duration = Duration::from_secs(1);

impl Failure {
    pub(super) fn new(code: ApiCode, detail: impl Into<String>) -> Self {
        let retry_after = matches!(
            code,
            ApiCode::QueueFull
                | ApiCode::RateLimited
                | ApiCode::EngineOverloaded
                | ApiCode::EngineUnavailable
        )
        .then_some(SOON);
        Self { code, detail: detail.into(), nearest: None, pointer: None, retry_after, allow: None }
    }

    /// The same with where in the body it is.
    pub(super) fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }

    /// That something of the body is not as it must be.
    pub(super) fn wrong(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ApiCode::BadRequest, detail).at(pointer)
    }

    /// An event that is none, in the body or in the headers.
    pub(super) fn event(error: &EnvelopeError) -> Self {
        let code = match &error.reason {
            Reason::OverLimit { limit: "batch_events_max", .. } => ApiCode::BatchTooLarge,
            Reason::OverLimit { limit: "message_bytes_max", .. } => ApiCode::BodyTooLarge,
            Reason::UnknownFormat => ApiCode::UnsupportedMediaType,
            _ => ApiCode::InvalidEvent,
        };
        Self::new(code, error.to_string()).at(error.pointer())
    }

    /// What a commit of one operation for each of `pointers` was answered, if it has several.
    pub(super) fn commit(error: CommitError, is_batch: bool) -> Self {
        match error {
            CommitError::Refused { operation, cause } => {
                let mut failure = Self::refused(cause);
                if is_batch {
                    let pointer = failure.pointer.take().unwrap_or_default();
                    failure.pointer = Some(format!("/{operation}{pointer}"));
                }
                failure
            }
            CommitError::TooLarge { .. } => Self::new(ApiCode::BatchTooLarge, error.to_string()),
            CommitError::Overloaded { .. } => Self::new(ApiCode::EngineOverloaded, error.to_string()),
            CommitError::Unavailable { retry_after, .. } => {
                let failure = Self::new(ApiCode::EngineUnavailable, error.to_string());
                Self { retry_after: retry_after.or(failure.retry_after), ..failure }
            }
            CommitError::Unknown { .. } => Self::new(ApiCode::OutcomeUnknown, error.to_string()),
            CommitError::Unsupported(_) => Self::new(ApiCode::BadRequest, error.to_string()),
        }
    }

    fn refused(cause: Refused) -> Self {
        let detail = cause.to_string();
        match cause {
            Refused::Engine(error) => Self::from(error),
            Refused::TooLarge { .. } => {
                Self::new(ApiCode::MessageTooLarge, format!("{detail}, `message_bytes_max` of the queue"))
            }
            Refused::Full { .. } => Self::new(ApiCode::QueueFull, detail),
            Refused::NotDeclared { .. } | Refused::Tombstone { .. } => {
                Self::new(ApiCode::NotDeclared, detail)
            }
            Refused::NotWaiting => Self::new(ApiCode::MessageNotFound, detail),
            // Settlements that are done again together with others that are not, or in another way.
            Refused::DoneBefore | Refused::HandledBefore | Refused::Lost => {
                Self::new(ApiCode::StaleLease, detail)
            }
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let detail = error.to_string();
        match error {
            EngineError::NotFound { name, nearest } => {
                let failure = Self::new(ApiCode::QueueNotFound, format!("there is no queue `{name}`"));
                Self { nearest, ..failure }
            }
            EngineError::StaleLease => Self::new(ApiCode::StaleLease, detail),
            EngineError::Exclusive { .. } => Self::new(ApiCode::QueueExclusive, detail),
            EngineError::Overloaded { .. } | EngineError::Limit { key: "waiting_max", .. } => {
                Self::new(ApiCode::EngineOverloaded, detail)
            }
            EngineError::Limit { .. } => Self::new(ApiCode::LimitExceeded, detail),
            EngineError::Unavailable { retry_after, .. } => {
                let failure = Self::new(ApiCode::EngineUnavailable, detail);
                Self { retry_after: retry_after.or(failure.retry_after), ..failure }
            }
            EngineError::NoPartition { .. }
            | EngineError::StaleMembership { .. }
            | EngineError::InUse { .. }
            | EngineError::Unsupported(_) => Self::new(ApiCode::BadRequest, detail),
        }
    }
}

impl From<Absent> for Failure {
    fn from(absent: Absent) -> Self {
        Self::new(ApiCode::EngineUnavailable, absent.to_string())
    }
}
