//! What routes and endpoints count, each in its own fields, to be read at scrape.

mod upgrade;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use intertie_core::failure::Class;
use intertie_core::rejection::Policy;
use intertie_core::telemetry::Value;

pub use upgrade::{UpgradeEnd, UpgradeStats, Way};

use crate::proxy::ErrorCode;
use crate::tls::ServiceHandshakes;

/// A counter that many threads raise.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations in buckets whose bounds suit services that answer in a millisecond to ten seconds.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BOUNDS.len() + 1],
    sum_nanos: AtomicU64,
}

/// Upper bounds in seconds; one more bucket holds the rest.
const BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].increment();
        self.sum_nanos.fetch_add(intertie_core::clock::nanos(duration), Ordering::Relaxed);
    }

    /// The distribution so far.
    pub fn value(&self) -> Value {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(self.buckets.iter().map(Counter::get)).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        Value::Histogram { sum: self.sum_nanos.load(Ordering::Relaxed) as f64 / 1e9, count, buckets }
    }
}

/// What a route did.
#[derive(Debug, Default)]
pub struct RouteStats {
    statuses: [Counter; 6],
    rejections: [Counter; REJECTING.len()],
    errors: [Counter; ErrorCode::ALL.len()],
    broken_off: [Counter; BROKEN_OFF.len()],
    /// Clients that left before the answer was complete.
    pub cancelled: Counter,
    /// From the request's head to the answer's last byte, or to the switch to another protocol.
    pub duration: Histogram,
    /// Connections that switched to another protocol.
    pub upgrades: UpgradeStats,
}

/// The policies that can reject a call, in the order of [`RouteStats`]'s counters.
pub const REJECTING: [Policy; 5] =
    [Policy::Deadline, Policy::RateLimiter, Policy::Bulkhead, Policy::CircuitBreaker, Policy::Balance];

/// How answers end that something cut, unless the client left, in the order of [`RouteStats`]'s counters.
const BROKEN_OFF: [&str; 3] = ["service_broke_off", "deadline", "send_timeout"];

/// The names of status classes, in the order of [`RouteStats`]'s counters.
pub const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl RouteStats {
    /// Counts a finished request. Status 0 stands for none at all.
    pub fn finished(&self, status: u16, duration: Duration) {
        let class = usize::from(status / 100);
        self.statuses[if class < self.statuses.len() { class } else { 0 }].increment();
        self.duration.observe(duration);
    }

    /// Counts a rejection.
    pub fn rejected(&self, by: Policy) {
        if let Some(place) = REJECTING.iter().position(|policy| *policy == by) {
            self.rejections[place].increment();
        }
    }

    /// Counts an answer of the gateway's own.
    pub fn failed(&self, code: ErrorCode) {
        if let Some(place) = ErrorCode::ALL.iter().position(|known| *known == code) {
            self.errors[place].increment();
        }
    }

    /// Counts an answer that ended before its last byte.
    pub fn broke_off(&self, how: &str) {
        if let Some(place) = BROKEN_OFF.iter().position(|known| *known == how) {
            self.broken_off[place].increment();
        }
    }

    /// Failed requests by their error's code, or by how their answer broke off.
    pub fn errors(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let codes = ErrorCode::ALL.into_iter().map(ErrorCode::code);
        let counters = self.errors.iter().chain(&self.broken_off);
        codes.chain(BROKEN_OFF).zip(counters.map(Counter::get))
    }

    /// Finished requests by status class.
    pub fn statuses(&self) -> impl Iterator<Item = (&'static str, u64)> {
        STATUS_CLASSES.into_iter().zip(self.statuses.iter().map(Counter::get))
    }

    /// Rejections by policy.
    pub fn rejections(&self) -> impl Iterator<Item = (Policy, u64)> {
        REJECTING.into_iter().zip(self.rejections.iter().map(Counter::get))
    }
}

/// What an endpoint did.
#[derive(Debug, Default)]
pub struct EndpointStats {
    outcomes: [Counter; OUTCOMES.len()],
    /// Attempts that ended at their attempt timeout.
    pub attempt_timeouts: Counter,
    /// Attempts after the first of a call.
    pub retries: Counter,
    /// Requests sent again within their attempt, because a kept connection ended under them.
    pub resends: Counter,
    /// Times it was ejected.
    pub ejections: Counter,
    /// Connections opened.
    pub connections: Counter,
    /// Requests that were not sent because all connections were full.
    pub exhausted: Counter,
    /// Requests that the service gave back without having acted on them.
    pub unprocessed: Counter,
    /// Handshakes of TLS by how they ended.
    pub handshakes: ServiceHandshakes,
    /// From the attempt's start to the answer's head.
    pub duration: Histogram,
}

const OUTCOMES: [(Class, &str); 6] = [
    (Class::Success, "success"),
    (Class::Permanent, "permanent"),
    (Class::Throttled, "throttled"),
    (Class::Unavailable, "unavailable"),
    (Class::Transient, "transient"),
    (Class::Unjudged, "unjudged"),
];

/// How a class of outcomes is called in metrics and documents.
pub fn class_name(class: Class) -> &'static str {
    OUTCOMES.iter().find(|(known, _)| *known == class).map_or("", |(_, name)| name)
}

impl EndpointStats {
    /// Counts an attempt's outcome.
    pub fn resolved(&self, class: Class) {
        if let Some(place) = OUTCOMES.iter().position(|(known, _)| *known == class) {
            self.outcomes[place].increment();
        }
    }

    /// Attempts by outcome.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        OUTCOMES.into_iter().map(|(_, name)| name).zip(self.outcomes.iter().map(Counter::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        for millis in [1, 2, 10_000, 10_001] {
            histogram.observe(Duration::from_millis(millis));
        }
        let Value::Histogram { count, buckets, .. } = histogram.value() else { unreachable!("a histogram") };
        assert_eq!(count, 4);
        let filled: Vec<_> = buckets.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.001, 1), (0.0025, 1), (10.0, 1), (f64::INFINITY, 1)]);
    }

    #[test]
    fn odd_statuses_do_not_panic() {
        let stats = RouteStats::default();
        for status in [0, 99, 204, 599, 600, 999] {
            stats.finished(status, Duration::ZERO);
        }
        assert_eq!(stats.statuses().map(|(_, count)| count).sum::<u64>(), 6);
    }
}
