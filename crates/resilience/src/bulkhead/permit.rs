use std::borrow::Borrow;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Class;

use super::layer::Bulkhead;
use crate::striped::stripe;

/// A permit that borrows its bulkhead, for a call that ends before the borrow does.
pub type Permit<'a> = PermitOn<&'a Bulkhead>;

/// A permit that keeps its bulkhead alive, for one that is stored or moved to a task.
pub type OwnedPermit = PermitOn<Bulkhead>;

/// A place among the running calls of a bulkhead held as `B`, free again when dropped.
#[derive(Debug)]
#[must_use = "dropping a permit frees its place"]
pub struct PermitOn<B: Borrow<Bulkhead>> {
    bulkhead: B,
}

impl<B: Borrow<Bulkhead>> PermitOn<B> {
    /// For a place that was just taken.
    #[inline]
    pub(super) fn new(bulkhead: B) -> Self {
        Self { bulkhead }
    }

    /// Ends the call at `now` and tells an adaptive limit how it went: what the outcome means, and how long
    /// it took, the wait for the place not included. A permit that is dropped instead tells nothing.
    pub fn record(self, now: Instant, class: Class, latency: Duration) {
        self.observe(now, class, latency);
    }

    /// Tells an adaptive limit how an attempt of the call went, which ended at `now`, and keeps the place: for a
    /// call of several attempts, or whose answer goes on after it is known what it means.
    pub fn observe(&self, now: Instant, class: Class, latency: Duration) {
        self.bulkhead.borrow().shared.record(now, class, latency);
    }
}

impl<B: Borrow<Bulkhead>> Drop for PermitOn<B> {
    #[inline]
    fn drop(&mut self) {
        self.bulkhead.borrow().shared.gate.leave(stripe());
    }
}
