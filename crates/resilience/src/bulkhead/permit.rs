use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Class;

use super::layer::Shared;
use crate::striped::stripe;
use crate::sync::Arc;

/// A place among the running calls, free again when dropped. Borrows its bulkhead, for a call that ends
/// before the borrow does.
#[derive(Debug)]
#[must_use = "dropping a permit frees its place"]
pub struct Permit<'a> {
    shared: &'a Shared,
}

/// A place among the running calls, free again when dropped. Keeps its bulkhead alive, for a permit that is
/// stored or moved to a task.
#[derive(Debug)]
#[must_use = "dropping a permit frees its place"]
pub struct OwnedPermit {
    shared: Arc<Shared>,
}

impl Permit<'_> {
    /// Ends the call at `now` and tells an adaptive limit how it went: what the outcome means, and how long
    /// it took, the wait for the place not included. A permit that is dropped instead tells nothing.
    pub fn record(self, now: Instant, class: Class, latency: Duration) {
        self.shared.record(now, class, latency);
    }
}

impl<'a> Permit<'a> {
    /// For a place that was just taken.
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared }
    }
}

impl OwnedPermit {
    /// Ends the call as [`Permit::record`] does.
    pub fn record(self, now: Instant, class: Class, latency: Duration) {
        self.observe(now, class, latency);
    }

    /// Tells an adaptive limit how an attempt of the call went, which ended at `now`, and keeps the place: for a
    /// call of several attempts, or whose answer goes on after it is known what it means.
    pub fn observe(&self, now: Instant, class: Class, latency: Duration) {
        self.shared.record(now, class, latency);
    }
}

impl OwnedPermit {
    /// For a place that was just taken.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.shared.gate.leave(stripe());
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        self.shared.gate.leave(stripe());
    }
}
