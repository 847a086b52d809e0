use std::fmt;
use std::time::Duration;

use intertie_core::failure::Class;

use crate::consumer::Failure;
use crate::queue::DeadLetter;

/// Why a request was not done, as its responder said it to whoever asked.
///
/// It is no [`std::error::Error`] itself, so that every error can become one by `?`: with its sources, as worth another
/// try, under the code `internal`. A [`Failure`] becomes one under the code of its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    code: String,
    message: String,
    is_retryable: bool,
    retry_after: Option<Duration>,
}

impl Fault {
    /// The longest code, in bytes.
    pub const CODE_BYTES_MAX: usize = 64;

    /// The same request will fail again. `code` is for programs, of the visible characters of ASCII; of it and of the
    /// message, for people, as much is kept as [`Fault::CODE_BYTES_MAX`] and [`DeadLetter::REASON_BYTES_MAX`] allow.
    pub fn permanent(code: &str, message: impl Into<String>) -> Self {
        let kept = code.chars().filter(char::is_ascii_graphic).take(Self::CODE_BYTES_MAX);
        let code: String = kept.collect();
        let code = if code.is_empty() { "unspecified".to_owned() } else { code };
        let message = DeadLetter::kept_reason(message.into());
        Self { code, message, is_retryable: false, retry_after: None }
    }

    /// The same request may be done another time.
    pub fn retryable(code: &str, message: impl Into<String>) -> Self {
        Self { is_retryable: true, ..Self::permanent(code, message) }
    }

    /// The same, worth another try, but not before `wait` is over.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.is_retryable = true;
        self.retry_after = Some(wait);
        self
    }

    /// What it is, for programs.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What it is, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the same request may be done another time.
    pub fn is_retryable(&self) -> bool {
        self.is_retryable
    }

    /// The wait that was asked for before that.
    pub fn hint(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What it means to whoever asked.
    pub fn class(&self) -> Class {
        match (self.is_retryable, self.retry_after) {
            (false, _) => Class::Permanent,
            (true, Some(_)) => Class::Unavailable,
            (true, None) => Class::Transient,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        let code = match failure.class() {
            Class::Success | Class::Unjudged => "not_tried",
            Class::Permanent => "rejected",
            Class::Throttled => "throttled",
            Class::Unavailable => "unavailable",
            Class::Transient => "failed",
        };
        let fault = Self::permanent(code, failure.reason());
        let is_retryable = failure.class() != Class::Permanent;
        Self { is_retryable, retry_after: failure.hint().filter(|_| is_retryable), ..fault }
    }
}

impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::retryable("internal", Failure::from(error).reason())
    }
}
