use std::fmt;
use std::sync::PoisonError;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::rejection::{Policy, Rejection};

use super::layer::Quota;
use crate::sync::Mutex;

/// A limiting algorithm: a pure function of its settings, one caller's state, the time and the cost.
///
/// Two laws let states live in tables and atomic words. What a call of cost zero, or a rejected one, is
/// told leaves the state's meaning as it was; an admitted call of cost one or more leaves a state that is
/// not the default.
pub(super) trait Limit: fmt::Debug {
    /// What is remembered of one caller. The default is a caller never seen before.
    type State: Default + PartialEq + fmt::Debug;
    /// One state that threads share.
    type Cell: StateCell<Self::State>;

    /// Decides about a call of `cost` permits and takes them only when it is admitted.
    fn decide(&self, state: &mut Self::State, now: Instant, cost: u64) -> Decision;

    /// Undoes an admission of `cost` permits at `taken_at`, as far as it does not admit more than if the
    /// permits had never been taken.
    fn release(&self, state: &mut Self::State, taken_at: Instant, cost: u64);

    /// Whether forgetting `state` would change no later decision.
    fn is_idle(&self, state: &Self::State, now: Instant) -> bool;
}

/// One state that threads share.
pub(super) trait StateCell<S>: Default + fmt::Debug {
    /// Changes the state. `change` may run several times; the last run is the one that counts.
    fn update<R>(&self, change: impl FnMut(&mut S) -> R) -> R;
}

impl<S: Default + fmt::Debug> StateCell<S> for Mutex<S> {
    fn update<R>(&self, mut change: impl FnMut(&mut S) -> R) -> R {
        change(&mut self.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The answer to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
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

impl Decision {
    /// What the caller is told.
    #[inline]
    pub(super) fn answer(self) -> Result<Quota, Rejection> {
        match self {
            Self::Admitted { remaining, reset } => Ok(Quota { remaining, reset }),
            Self::Rejected { retry_after } => {
                Err(Rejection { by: Policy::RateLimiter, bound: "limit", retry_after })
            }
        }
    }
}
