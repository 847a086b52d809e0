use std::future::pending;
use std::time::Duration;

use intertie_core::clock::Instant;

use super::state::Limits;
use crate::MonotonicClock;

/// What an operation is told about its limit.
#[derive(Debug, Clone, Copy)]
pub struct Cx {
    pub(super) limits: Limits,
}

impl Cx {
    /// When the operation reaches its limit.
    pub fn until(&self) -> Instant {
        self.limits.until()
    }

    /// What is left of that time, to be handed on to whom the operation calls.
    pub fn remaining(&self) -> Duration {
        self.limits.until().saturating_since(MonotonicClock::now())
    }

    /// When the operation is dropped if it has not ended: `grace` after its limit.
    pub fn given_up(&self) -> Instant {
        self.limits.given_up()
    }

    /// Whether the operation should end by itself now. Only with `cooperate`; false for ever otherwise.
    pub fn is_cancelled(&self) -> bool {
        self.limits.cancelled().is_some_and(|at| MonotonicClock::now() >= at)
    }

    /// Waits until the operation should end by itself: the arm of a `select!` beside its work. Only with
    /// `cooperate`; it waits for ever otherwise.
    ///
    /// The signal is the limit's own instant, so that it costs a call nothing that does not wait for it.
    pub async fn cancelled(self) {
        match self.limits.cancelled() {
            Some(at) => tokio::time::sleep_until(MonotonicClock::to_tokio(at)).await,
            None => pending().await,
        }
    }
}
