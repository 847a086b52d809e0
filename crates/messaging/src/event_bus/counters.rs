use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use intertie_core::telemetry::{Snapshot, Source};

use super::bus::Shared;

/// What a bus did since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventBusStats {
    /// Events that are stored.
    pub published: u64,
    /// Events that are not, or of which that is not known.
    pub not_published: u64,
    /// Stored events for which this process has no handler.
    pub without_handler: u64,
    /// Calls of handlers that succeeded.
    pub handled: u64,
    /// Calls of handlers that failed, or were not made because the bus was shut down.
    pub failed: u64,
    /// Publications that are under way.
    pub in_flight: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) published: AtomicU64,
    pub(super) not_published: AtomicU64,
    pub(super) without_handler: AtomicU64,
    pub(super) handled: AtomicU64,
    pub(super) failed: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64, events: usize) {
    counter.fetch_add(events as u64, Relaxed);
}

/// The counts of a bus, to be scraped at any time.
#[derive(Debug, Clone)]
pub struct EventBusSource {
    pub(super) shared: Arc<Shared>,
}

impl Source for EventBusSource {
    fn read(&self, snapshot: &mut Snapshot) {
        let stats = self.shared.stats();
        let labels = [("topic", self.shared.topic.as_str())];
        for (outcome, count) in [("published", stats.published), ("not_published", stats.not_published)] {
            let help = "Events by whether they are stored.";
            snapshot.counter("event_bus_events", help, &[labels[0], ("outcome", outcome)], count);
        }
        let help = "Stored events for which this process has no handler.";
        snapshot.counter("event_bus_without_handler", help, &labels, stats.without_handler);
        for subscription in &self.shared.subscribed().subscriptions {
            for (outcome, count) in [("handled", &subscription.succeeded), ("failed", &subscription.failed)] {
                let labels = [labels[0], ("handler", subscription.name.as_str()), ("outcome", outcome)];
                let help = "Calls of handlers by how they ended.";
                snapshot.counter("event_bus_calls", help, &labels, count.load(Relaxed));
            }
        }
        let help = "Publications that are under way.";
        snapshot.gauge("event_bus_in_flight", help, &labels, stats.in_flight as f64);
    }
}
