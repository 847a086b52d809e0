//! Admits at most so many calls per time, for all callers together or for each of them.
//!
//! | algorithm | admits | choose it when |
//! |---|---|---|
//! | [`TokenBucket`] | `burst` at once, then one each `period / amount` | traffic may come in bursts; the default |
//! | [`SlidingWindow`] | `amount` in any window, as estimated from two counters | a contract says "n per window" |
//!
//! A rejected caller learns when the same call can succeed. A call whose cost can never fit is told so at
//! once instead of being sent away to wait for ever.

mod config;
mod keyed;
mod layer;
mod sliding_window;
#[cfg(test)]
mod tests;
mod token_bucket;

use std::time::Duration;

use intertie_core::clock::Instant;

pub use config::{Algorithm, Count, LimitBy, RateLimiterConfig};
pub use keyed::Keyed;
pub use layer::{Quota, RateLimiter, Stats};
pub use sliding_window::{SlidingWindow, WindowState};
pub use token_bucket::TokenBucket;

/// A limiting algorithm: a pure function of its settings, one caller's state, the time and the cost.
pub trait Limit {
    /// What is remembered of one caller. The default is a caller never seen before.
    type State: Copy + Default;

    /// Decides about a call of `cost` permits and changes `state` only when it is admitted.
    fn decide(&self, state: &mut Self::State, now: Instant, cost: u64) -> Decision;

    /// Whether forgetting `state` would change no later decision.
    fn is_idle(&self, state: &Self::State, now: Instant) -> bool;

    /// The time after which a caller that makes no more calls is idle for certain.
    fn memory(&self) -> Duration;
}

/// The answer to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Let it through.
    Admitted {
        /// Permits left for calls that come at once.
        remaining: u64,
        /// The time until all permits are back.
        reset: Duration,
    },
    /// Reject it.
    Rejected {
        /// The time after which the same call is admitted if no other comes first; `None` when its cost
        /// exceeds what can ever be admitted.
        retry_after: Option<Duration>,
    },
}
