use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Class;

use super::{AdaptiveConfig, Bounded, Sample};

/// Additive increase, multiplicative decrease: one more place for each limit's worth of successes that were
/// fast enough, a share less at an overload (Chiu and Jain 1989; TCP's congestion avoidance).
///
/// With `latency_max = "100ms"` and a dependency that runs 20 calls at once in 50 ms each, and queues the
/// others, calls take 100 ms at 40 of them: the limit swings between 30 and 40.
#[derive(Debug)]
pub struct Aimd {
    limit: Bounded,
    latency_max: Duration,
}

impl Aimd {
    /// At `concurrent`.
    pub fn new(config: &AdaptiveConfig, concurrent: u32) -> Self {
        let latency_max = config.latency_max.unwrap_or(Duration::MAX);
        Self { limit: Bounded::new(config, concurrent), latency_max }
    }

    /// A call ended at `now`. Returns the limit from here on.
    pub fn record(&mut self, now: Instant, sample: Sample) -> u32 {
        let Sample { class, latency, running } = sample;
        let slow = latency > self.latency_max;
        match class {
            Class::Throttled | Class::Unavailable => self.limit.cut(now, latency),
            Class::Success | Class::Transient if slow => self.limit.cut(now, latency),
            // A limit that is not half used was not tried, so that it was not too much proves nothing.
            Class::Success
                if f64::from(running) * 2.0 >= self.limit.value && self.limit.is_recent(now, latency) =>
            {
                self.limit.set(self.limit.value + 1.0 / self.limit.value);
            }
            Class::Success | Class::Transient | Class::Permanent | Class::Unjudged => {}
        }
        self.limit()
    }

    /// The limit from here on.
    pub fn limit(&self) -> u32 {
        self.limit.floor()
    }
}
