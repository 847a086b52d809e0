use std::error::Error;
use std::fmt;
use std::time::Duration;

use intertie_core::failure::Evidence;
use intertie_core::quantity::format_duration;

use super::state::Limits;
use crate::deadline::LimitedBy;

/// Why a limited operation failed: one flat error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeoutError<E> {
    /// The operation's own error.
    Operation(E),
    /// It took too long.
    TimedOut(TimedOut),
}

/// An operation took longer than it was allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut {
    /// How long it was allowed to take, grace aside.
    pub limit: Duration,
    /// Whether that was its own limit, or what an outer one left of it.
    pub by: LimitedBy,
    /// What a circuit breaker learns: a failure if the operation had at least nine tenths of its own limit,
    /// nothing if an outer one left it less.
    pub evidence: Evidence,
}

impl TimedOut {
    /// An operation with `own` as its own limit exceeded `limits`.
    pub(super) fn new(limits: Limits, own: Duration) -> Self {
        let evidence = if limits.judges(own) { Evidence::Failure } else { Evidence::None };
        Self { limit: limits.limit(), by: limits.by(), evidence }
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = format_duration(self.limit);
        match self.by {
            LimitedBy::AttemptTimeout => write!(f, "the operation took longer than its limit of {limit}"),
            LimitedBy::Deadline => write!(f, "the operation took longer than the {limit} left to its caller"),
        }
    }
}

impl Error for TimedOut {}

impl<E> fmt::Display for TimeoutError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation(_) => f.write_str("the operation failed"),
            Self::TimedOut(timed_out) => timed_out.fmt(f),
        }
    }
}

impl<E: Error + 'static> Error for TimeoutError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Operation(error) => Some(error),
            Self::TimedOut(_) => None,
        }
    }
}
