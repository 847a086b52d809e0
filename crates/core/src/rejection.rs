//! A policy's refusal to let a call through.

use std::fmt;
use std::time::Duration;

/// The policies of a call, by the name they have on every surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Policy {
    /// The limit of the whole call.
    Deadline,
    /// Permits per time.
    RateLimiter,
    /// Concurrent calls.
    Bulkhead,
    /// The dependency failed too often.
    CircuitBreaker,
    /// The limit of one attempt.
    AttemptTimeout,
    /// Attempts and their budget.
    Retry,
    /// The choice of an endpoint.
    Balance,
    /// One call for all who want the same.
    Coalesce,
    /// One call for many items.
    Batch,
    /// Pooled resources.
    Pool,
    /// Further attempts beside slow ones.
    Hedge,
    /// Injected faults.
    Chaos,
}

impl Policy {
    /// The name in configuration keys, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::RateLimiter => "rate_limiter",
            Self::Bulkhead => "bulkhead",
            Self::CircuitBreaker => "circuit_breaker",
            Self::AttemptTimeout => "attempt_timeout",
            Self::Retry => "retry",
            Self::Balance => "balance",
            Self::Coalesce => "coalesce",
            Self::Batch => "batch",
            Self::Pool => "pool",
            Self::Hedge => "hedge",
            Self::Chaos => "chaos",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A refusal: who refused, which bound was met, and when the caller may come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// The policy that refused.
    pub by: Policy,
    /// The bound that was met, as its configuration key: `burst`, `queue`, `open`.
    pub bound: &'static str,
    /// The shortest wait after which a retry can succeed; `None` when no wait is known.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rejected the call at its bound `{}`", self.by, self.bound)
    }
}

impl std::error::Error for Rejection {}
