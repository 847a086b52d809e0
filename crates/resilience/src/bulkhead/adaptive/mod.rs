//! Limits that follow what the dependency can take.
//!
//! | algorithm | when |
//! |---|---|
//! | [`Aimd`] | it is known which latency is too much, such as half of the attempt timeout |
//! | [`Gradient`] | it is not: the latency under light load is measured, and compared with |
//!
//! What a [`Sample`] may do to the limit is the same for both. Only a success says that there is room. A
//! failure never does, however fast it came: an instant refusal is no low latency. A throttled or
//! unavailable dependency, and one that is too slow, succeeding or not, asks for fewer calls. All other
//! outcomes say nothing.

mod aimd;
mod config;
mod gradient;

use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Class;

pub use aimd::Aimd;
pub use config::{AdaptiveConfig, Algorithm};
pub use gradient::Gradient;

/// One call that ended.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// What its outcome means.
    pub class: Class,
    /// How long it ran, the wait for its place not included.
    pub latency: Duration,
    /// Calls that held a place when it ended, itself included.
    pub running: u32,
}

/// The limit, moved by samples: no clock, no lock.
#[derive(Debug)]
pub(super) enum Adaptive {
    Aimd(Aimd),
    Gradient(Gradient),
}

impl Adaptive {
    /// At `concurrent`.
    pub(super) fn new(config: &AdaptiveConfig, concurrent: u32) -> Self {
        match config.algorithm {
            Algorithm::Aimd => Self::Aimd(Aimd::new(config, concurrent)),
            Algorithm::Gradient => Self::Gradient(Gradient::new(config, concurrent)),
        }
    }

    /// A call ended at `now`. Returns the limit from here on.
    pub(super) fn record(&mut self, now: Instant, sample: Sample) -> u32 {
        match self {
            Self::Aimd(aimd) => aimd.record(now, sample),
            Self::Gradient(gradient) => gradient.record(now, sample),
        }
    }

    /// The limit from here on.
    pub(super) fn limit(&self) -> u32 {
        match self {
            Self::Aimd(aimd) => aimd.limit(),
            Self::Gradient(gradient) => gradient.limit(),
        }
    }
}

/// A limit between two bounds, in fractions of a call, and the cuts that overload makes.
#[derive(Debug)]
struct Bounded {
    value: f64,
    min: f64,
    max: f64,
    /// What a cut leaves.
    kept: f64,
    /// When it was last cut.
    cut: Instant,
}

impl Bounded {
    fn new(config: &AdaptiveConfig, concurrent: u32) -> Self {
        let (min, max) = (f64::from(config.min.get()), f64::from(config.max.get()));
        let kept = 1.0 - config.decrease.as_f64();
        Self { value: f64::from(concurrent), min, max, kept, cut: Instant::ORIGIN }
    }

    fn set(&mut self, value: f64) {
        self.value = value.clamp(self.min, self.max);
    }

    /// Cuts the limit once for all calls that ran at the same time, as TCP does once for each round trip:
    /// a call that began before the last cut tells of the limit before it.
    fn cut(&mut self, now: Instant, latency: Duration) {
        if self.is_recent(now, latency) {
            self.set(self.value * self.kept);
            self.cut = now;
        }
    }

    /// Whether a call that ended at `now` began after the last cut.
    fn is_recent(&self, now: Instant, latency: Duration) -> bool {
        now.saturating_since(self.cut) >= latency
    }

    fn floor(&self) -> u32 {
        self.value as u32
    }
}
