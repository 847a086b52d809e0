use std::time::Duration;

use intertie_core::clock::{Instant, nanos};
use intertie_core::failure::Class;

use super::{AdaptiveConfig, Bounded, Sample};

/// Moves the limit by how much slower calls are than under light load, after `Gradient2` of Netflix's
/// concurrency-limits, with a baseline of its own.
///
/// Each window of samples has a mean latency; new limit = limit × gradient + √limit, with gradient =
/// (1 + `slowdown_max`) × baseline ÷ mean, between ½ and 1, smoothed by a fifth. The root lets the limit
/// grow while nothing is slow.
///
/// The baseline, the latency under light load, comes from probes only: for one window the limit is half of
/// what ran before. A probe that finds another latency than the last one is followed by one with half of its
/// calls, until two agree. So a dependency that became slower for good is not punished for ever, and a queue
/// in it is not taken for light load, since halving the calls shortens it. `min` bounds the limit and not the
/// probe. Calls that began before a probe began or ended are left out.
#[derive(Debug)]
pub struct Gradient {
    limit: Bounded,
    tolerance: f64,
    window: Duration,
    probe_every: Duration,
    /// Nanoseconds; zero before the first probe ended.
    baseline: f64,
    /// The limit while a probe lasts.
    probe: Option<u32>,
    next_probe: Instant,
    /// When the last probe began or ended.
    turned: Instant,
    samples: Window,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    count: u32,
    nanos: u128,
    /// The most calls that held a place at the end of one.
    running: u32,
}

/// Fewer calls have no mean worth acting on.
const SAMPLES_MIN: u32 = 10;
/// A probe gets no longer than this many windows, however few calls there are.
const PROBE_WINDOWS_MAX: u32 = 4;
/// Probes whose latencies differ by no more than this found the same.
const AGREEMENT: f64 = 0.25;
const SMOOTHING: f64 = 0.2;

impl Gradient {
    /// At `concurrent`, of which the first probe takes half.
    pub fn new(config: &AdaptiveConfig, concurrent: u32) -> Self {
        Self {
            limit: Bounded::new(config, concurrent),
            tolerance: 1.0 + config.slowdown_max.as_f64(),
            window: config.window,
            probe_every: config.probe_every,
            baseline: 0.0,
            probe: Some(half(concurrent)),
            next_probe: Instant::ORIGIN,
            turned: Instant::ORIGIN,
            samples: Window::begin(Instant::ORIGIN),
        }
    }

    /// A call ended at `now`. Returns the limit from here on.
    pub fn record(&mut self, now: Instant, sample: Sample) -> u32 {
        let Sample { class, latency, running } = sample;
        let slow = nanos(latency) as f64 > self.tolerance * self.baseline && self.baseline > 0.0;
        let began_after_turn = now.saturating_since(self.turned) >= latency;
        match class {
            Class::Throttled | Class::Unavailable => self.limit.cut(now, latency),
            Class::Success if began_after_turn => self.samples.add(latency, running),
            Class::Transient if began_after_turn && slow => self.samples.add(latency, running),
            Class::Success | Class::Transient | Class::Permanent | Class::Unjudged => {}
        }
        let age = now.saturating_since(self.samples.began);
        let full = age >= self.window && self.samples.count >= SAMPLES_MIN;
        // Nothing can be compared with before the first probe found something.
        let overdue = age >= self.window.saturating_mul(PROBE_WINDOWS_MAX)
            && (self.samples.count > 0 || self.baseline > 0.0);
        match self.probe {
            Some(_) if full || overdue => self.end_probe(now),
            None if full => self.end_window(now),
            _ => {}
        }
        self.limit()
    }

    /// The limit from here on.
    pub fn limit(&self) -> u32 {
        self.probe.map_or(self.settled_limit(), |probe| probe.min(self.settled_limit()))
    }

    /// The limit that is in force when no probe lasts.
    pub fn settled_limit(&self) -> u32 {
        self.limit.floor()
    }

    fn end_probe(&mut self, now: Instant) {
        let mean = self.samples.mean().unwrap_or(self.baseline);
        let agrees = (mean - self.baseline).abs() <= self.baseline * AGREEMENT;
        self.baseline = mean;
        self.probe = self.probe.filter(|probe| !agrees && *probe > 1).map(half);
        self.next_probe = now + self.probe_every;
        self.turned = now;
        self.samples = Window::begin(now);
    }

    fn end_window(&mut self, now: Instant) {
        let running = self.samples.running;
        let mean = self.samples.mean().unwrap_or(self.baseline).max(1.0);
        let gradient = (self.tolerance * self.baseline / mean).clamp(0.5, 1.0);
        let wanted = self.limit.value * gradient + self.limit.value.sqrt();
        // A limit that is not half used was not tried, so that it was not too much proves nothing.
        if wanted < self.limit.value || f64::from(running) * 2.0 >= self.limit.value {
            self.limit.set(self.limit.value + SMOOTHING * (wanted - self.limit.value));
        }
        if now >= self.next_probe {
            self.probe = Some(half(running));
            self.turned = now;
        }
        self.samples = Window::begin(now);
    }
}

fn half(running: u32) -> u32 {
    (running / 2).max(1)
}

impl Window {
    fn begin(now: Instant) -> Self {
        Self { began: now, count: 0, nanos: 0, running: 0 }
    }

    fn add(&mut self, latency: Duration, running: u32) {
        self.count += 1;
        self.nanos += u128::from(nanos(latency));
        self.running = self.running.max(running);
    }

    fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.nanos as f64 / f64::from(self.count))
    }
}
