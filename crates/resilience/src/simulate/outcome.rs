use std::fmt;
use std::time::Duration;

use intertie_core::failure::Class;
use intertie_core::rejection::Policy;
use serde::{Serialize, Serializer};

/// Why a call of a simulation failed: what went wrong first, wherever in its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Nobody was there: [`Effect::Refuse`](super::Effect::Refuse).
    Refused,
    /// The dependency's queue was full.
    Overloaded,
    /// The dependency had no quota left: [`Effect::Throttle`](super::Effect::Throttle).
    Throttled,
    /// The dependency answered with an error.
    Failed,
    /// An attempt took longer than its tier's `attempt_timeout`.
    AttemptTimeout,
    /// A call took longer than its deadline.
    Deadline,
    /// The chaos of a tier made an attempt fail.
    Injected,
    /// A policy of one of the tiers refused the call.
    Rejected(Policy),
}

impl Reason {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Overloaded => "overloaded",
            Self::Throttled => "throttled",
            Self::Failed => "failed",
            Self::AttemptTimeout => "attempt_timeout",
            Self::Deadline => "deadline",
            Self::Injected => "injected",
            Self::Rejected(policy) => policy.name(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused: nobody was there"),
            Self::Overloaded => f.write_str("refused: the dependency's queue was full"),
            Self::Throttled => f.write_str("refused: the dependency had no quota left"),
            Self::Failed => f.write_str("answered with an error"),
            Self::AttemptTimeout => f.write_str("ended by attempt_timeout"),
            Self::Deadline => f.write_str("ended by deadline"),
            Self::Injected => f.write_str("made to fail by chaos"),
            Self::Rejected(policy) => write!(f, "rejected by {policy}"),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What a tier, or the dependency, answers a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) class: Class,
    pub(super) retry_after: Option<Duration>,
    /// Somebody further down has repeated the call as often as is good.
    pub(super) exhausted: bool,
}

impl Failure {
    pub(super) fn new(reason: Reason, retry_after: Option<Duration>) -> Self {
        let class = match reason {
            Reason::Overloaded => Class::Unavailable,
            Reason::Throttled | Reason::Rejected(Policy::RateLimiter) => Class::Throttled,
            Reason::Rejected(_) => Class::Unavailable,
            Reason::Refused
            | Reason::Failed
            | Reason::AttemptTimeout
            | Reason::Deadline
            | Reason::Injected => Class::Transient,
        };
        Self { reason, class, retry_after, exhausted: false }
    }
}

/// One call of the load, as its caller saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CallRecord {
    /// Counted from the beginning of the simulation.
    pub(super) began: Duration,
    pub(super) took: Duration,
    pub(super) outcome: Result<(), Reason>,
}
