use std::borrow::Borrow;

use intertie_core::clock::Instant;

use super::admission::{Admission, Kind};
use super::layer::CircuitBreaker;
use super::state::Outcome;

/// A permit that borrows its breaker.
pub type Permit<'a> = PermitOn<&'a CircuitBreaker>;

/// A permit that keeps its breaker alive.
pub type OwnedPermit = PermitOn<CircuitBreaker>;

/// The right to make one call, on a breaker held as `B`. It must be told the outcome; dropped untold it is
/// given back and counts for nothing, unless a panic unwinds through it: that counts as a failure.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once protects nothing"]
pub struct PermitOn<B: Borrow<CircuitBreaker>> {
    breaker: B,
    /// Unset once the outcome is told.
    admission: Option<Admission>,
}

impl<B: Borrow<CircuitBreaker>> PermitOn<B> {
    #[inline]
    pub(super) fn new(breaker: B, admission: Admission) -> Self {
        Self { breaker, admission: Some(admission) }
    }

    /// Whether this is a probe of a half-open breaker. Others wait for its outcome, so it should be told as
    /// soon as it is known, also when the call goes on.
    pub fn is_probe(&self) -> bool {
        self.admission.is_some_and(|admission| admission.kind() == Kind::Probe)
    }

    /// Tells the outcome of the call, which ended at `now`.
    #[inline]
    pub fn record(mut self, now: Instant, outcome: impl Into<Outcome>) {
        if let Some(admission) = self.admission.take() {
            self.breaker.borrow().shared.record(now, admission, outcome.into());
        }
    }
}

impl<B: Borrow<CircuitBreaker>> Drop for PermitOn<B> {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            self.breaker.borrow().shared.forget(admission);
        }
    }
}
