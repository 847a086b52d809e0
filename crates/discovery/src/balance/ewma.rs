//! How slow an endpoint has been lately.

use std::time::Duration;

use intertie_core::clock::{Instant, nanos};

/// An endpoint's recent latency: rises to a peak at once, and forgets it gradually.
///
/// A slower answer than the average becomes the average; a faster one pulls it down by the share
/// 1 - e^(-t/T), where `t` is the time since the last answer and `T` the time constant. Without answers the
/// value falls towards 0 in the same way, so that an endpoint that was slow is tried again: of a peak of
/// 800 ms, 294 ms are left after 10 s and 2 ms after a minute with the default time constant of 10 s.
///
/// A new endpoint starts at 0, which stands for "not measured": `p2c_ewma` then compares requests in flight
/// alone, so that a new endpoint gets about the share of its siblings until its first answer, not all calls.
///
/// Feed it answers only. A refused connection takes microseconds, and an endpoint that refuses would look fast.
///
/// Source: `PeakEwma` of Finagle's load balancers. Unlike there, reading changes nothing.
#[derive(Debug, Clone)]
pub struct PeakEwma {
    time_constant_nanos: f64,
    nanos: f64,
    at: Instant,
}

impl PeakEwma {
    /// The time constant of [`PeakEwma::default`].
    pub const TIME_CONSTANT: Duration = Duration::from_secs(10);

    /// Nothing measured yet; e times less is left of a peak after each `time_constant`, of which at least a
    /// nanosecond is taken.
    pub fn new(time_constant: Duration) -> Self {
        let time_constant_nanos = nanos(time_constant).max(1) as f64;
        Self { time_constant_nanos, nanos: 0.0, at: Instant::ORIGIN }
    }

    /// Learns of an answer that came at `now` and took `latency`. Of an answer that is told late, `now` being
    /// before that of another, only a peak counts.
    pub fn observe(&mut self, now: Instant, latency: Duration) {
        let latency = nanos(latency) as f64;
        let kept = self.kept(now);
        self.nanos = latency.max(self.nanos * kept + latency * (1.0 - kept));
        self.at = self.at.max(now);
    }

    /// The latency to reckon with at `now`, in nanoseconds; 0 when nothing was measured.
    pub fn value(&self, now: Instant) -> f64 {
        self.nanos * self.kept(now)
    }

    /// Which share of the value is left at `now`.
    fn kept(&self, now: Instant) -> f64 {
        let elapsed = nanos(now.saturating_since(self.at)) as f64;
        (-elapsed / self.time_constant_nanos).exp()
    }
}

impl Default for PeakEwma {
    fn default() -> Self {
        Self::new(Self::TIME_CONSTANT)
    }
}
