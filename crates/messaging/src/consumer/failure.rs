use std::fmt::{self, Write};
use std::time::Duration;

use intertie_core::failure::Class;

use crate::queue::{Cause, DeadLetter};

/// Why a handler did not do what a message asks, and so what becomes of the message.
///
/// | made by | its [`Class`] | the message | to the circuit breaker |
/// |---|---|---|---|
/// | [`Failure::transient`], `?` on any error | `Transient` | comes again, counted | a failure |
/// | [`Failure::of_class`] | `Unavailable` | comes again, counted | a failure |
/// | [`Failure::of_class`] | `Throttled` | comes again, counted | nothing |
/// | [`Failure::permanent`], [`Failure::undecodable`] | `Permanent` | is dead | a success |
/// | [`Failure::not_tried`] | `Unjudged` | comes again, not counted | nothing |
///
/// One that comes again does so when the `redelivery` of its queue says, and not before [`Failure::retry_after`]. After
/// the last of `max_deliveries` it is dead, with the reason of this failure.
///
/// It is no [`std::error::Error`] itself, so that every error can become one by `?`: with its sources, as transient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    class: Class,
    cause: Cause,
    retry_after: Option<Duration>,
    reason: String,
}

impl Failure {
    /// A failure that means `class`; a success, which is none, is taken for `Unjudged`. Of the reason as much is kept as
    /// a [`DeadLetter`] keeps.
    pub fn of_class(class: Class, reason: impl Into<String>) -> Self {
        let reason = DeadLetter::kept_reason(reason.into());
        let class = if class == Class::Success { Class::Unjudged } else { class };
        Self { class, cause: Cause::Rejected, retry_after: None, reason }
    }

    /// It may be done another time.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self::of_class(Class::Transient, reason)
    }

    /// It never will be done.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self::of_class(Class::Permanent, reason)
    }

    /// It never will be done, because what it carries can not be read.
    pub fn undecodable(reason: impl Into<String>) -> Self {
        Self { cause: Cause::Undecodable, ..Self::permanent(reason) }
    }

    /// Nothing was tried. The consumer takes in no more for [`Failure::retry_after`], or for its `backoff`.
    pub fn not_tried(reason: impl Into<String>) -> Self {
        Self::of_class(Class::Unjudged, reason)
    }

    /// The same, not to be tried again before `wait` is over.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// What it means.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The wait that was asked for.
    pub fn hint(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Why, in words for people.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    pub(super) fn cause(&self) -> Cause {
        self.cause
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            write!(reason, ": {error}").expect("a string takes what is written");
            source = error.source();
        }
        Self::transient(reason)
    }
}
