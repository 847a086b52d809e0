//! The adaptive limits in a closed loop with a dependency that runs some calls at once and queues the rest.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use intertie_core::quantity::Ratio;
use tokio::time::timeout;

use crate::MonotonicClock;
use crate::bulkhead::adaptive::{Adaptive, AdaptiveConfig, Algorithm, Sample};
use crate::bulkhead::{Bulkhead, BulkheadConfig};

const fn places(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).expect("not zero")
}

const SERVICE: Duration = Duration::from_millis(50);

fn aimd() -> AdaptiveConfig {
    AdaptiveConfig::aimd(places(200), SERVICE * 2)
}

fn gradient() -> AdaptiveConfig {
    AdaptiveConfig {
        window: Duration::from_millis(200),
        probe_every: Duration::from_secs(5),
        ..AdaptiveConfig::gradient(places(200))
    }
}

/// Callers that take every place at once, and a dependency of `capacity` servers behind one queue.
struct Loop {
    adaptive: Adaptive,
    now: Instant,
    capacity: usize,
    service: Duration,
    /// The share of calls, in percent, that fail at once.
    instant_failures: u64,
    running: u32,
    queued: VecDeque<Instant>,
    /// When calls end, when they began, whether they fail.
    served: BinaryHeap<Reverse<(Instant, Instant, bool)>>,
    busy: usize,
    random: u64,
}

impl Loop {
    fn new(config: &AdaptiveConfig, concurrent: u32) -> Self {
        Self {
            adaptive: Adaptive::new(config, concurrent),
            now: Instant::from_nanos(1_000_000_000),
            capacity: 20,
            service: SERVICE,
            instant_failures: 0,
            running: 0,
            queued: VecDeque::new(),
            served: BinaryHeap::new(),
            busy: 0,
            random: 0x9E37_79B9_7F4A_7C15,
        }
    }

    /// A number below `bound`, by xorshift.
    fn random(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    fn admit(&mut self) {
        while self.running < self.adaptive.limit() {
            self.running += 1;
            if self.random(100) < self.instant_failures {
                self.served.push(Reverse((self.now + Duration::from_micros(100), self.now, true)));
            } else {
                self.queued.push_back(self.now);
            }
        }
        while self.busy < self.capacity {
            let Some(began) = self.queued.pop_front() else { return };
            self.busy += 1;
            let percent = 80 + self.random(41) as u32;
            self.served.push(Reverse((self.now + self.service * percent / 100, began, false)));
        }
    }

    /// Runs for `time`, and returns the limits that were seen in its last half.
    fn run(&mut self, time: Duration) -> RangeInclusive<u32> {
        let (half, end) = (self.now + time / 2, self.now + time);
        let (mut low, mut high) = (u32::MAX, 0);
        while self.now < end {
            self.admit();
            let Reverse((at, began, fails)) = self.served.pop().expect("somebody always calls");
            self.now = at;
            self.busy -= usize::from(!fails);
            let class = if fails { Class::Transient } else { Class::Success };
            let sample = Sample { class, latency: at.saturating_since(began), running: self.running };
            let limit = self.adaptive.record(at, sample);
            self.running -= 1;
            if at >= half {
                (low, high) = (low.min(limit), high.max(limit));
            }
        }
        low..=high
    }
}

/// Checks that the limits seen lie in `bounds`, and reach into them.
#[track_caller]
fn check(seen: &RangeInclusive<u32>, bounds: RangeInclusive<u32>) {
    let inside = bounds.contains(seen.start()) && bounds.contains(seen.end());
    assert!(inside, "the limit moved in {seen:?}, not in {bounds:?}");
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn aimd_settles_below_the_latency_that_is_too_much_and_follows_the_capacity() {
    for concurrent in [1, 10, 200] {
        let mut closed = Loop::new(&aimd(), concurrent);
        check(&closed.run(30 * SECOND), 25..=41);
        closed.capacity = 10;
        check(&closed.run(6 * SECOND), 12..=21);
        closed.capacity = 20;
        check(&closed.run(30 * SECOND), 25..=41);
    }
}

#[test]
fn gradient_settles_near_the_capacity_and_follows_it() {
    for concurrent in [1, 10, 200] {
        let mut closed = Loop::new(&gradient(), concurrent);
        // The lowest are the probes.
        check(&closed.run(40 * SECOND), 15..=40);
        closed.capacity = 10;
        check(&closed.run(10 * SECOND), 8..=24);
        closed.capacity = 20;
        check(&closed.run(20 * SECOND), 15..=40);
    }
}

#[test]
fn a_lasting_overload_does_not_become_the_gradients_norm() {
    let mut closed = Loop::new(&gradient(), 200);
    check(&closed.run(600 * SECOND), 15..=40);
}

#[test]
fn a_dependency_that_is_slower_for_good_keeps_its_calls_under_a_gradient() {
    let mut closed = Loop::new(&gradient(), 20);
    closed.run(30 * SECOND);
    closed.service = SERVICE * 3;
    check(&closed.run(30 * SECOND), 15..=42);
    closed.service = SERVICE;
    check(&closed.run(30 * SECOND), 15..=42);
}

#[test]
fn instant_failures_do_not_raise_a_limit() {
    for config in [aimd(), gradient()] {
        let mut closed = Loop::new(&config, 20);
        check(&closed.run(40 * SECOND), 15..=41);
        closed.instant_failures = 60;
        check(&closed.run(8 * SECOND), 15..=45);
        check(&closed.run(40 * SECOND), 15..=45);

        for class in [Class::Transient, Class::Permanent, Class::Unjudged, Class::Unavailable] {
            let mut adaptive = Adaptive::new(&config, 20);
            let before = adaptive.limit();
            let mut now = Instant::from_nanos(1_000_000_000);
            for _ in 0..1_000 {
                now = now + Duration::from_millis(1);
                let sample = Sample { class, latency: Duration::from_micros(10), running: 20 };
                assert!(adaptive.record(now, sample) <= before, "{class:?} raised the limit");
            }
        }
    }
}

#[test]
fn a_limit_that_is_not_half_used_does_not_rise() {
    for config in [aimd(), gradient()] {
        let mut adaptive = Adaptive::new(&config, 20);
        let mut now = Instant::from_nanos(1_000_000_000);
        for _ in 0..10_000 {
            now = now + Duration::from_millis(10);
            let sample = Sample { class: Class::Success, latency: SERVICE, running: 9 };
            assert!(adaptive.record(now, sample) <= 20);
        }
    }
}

#[test]
fn an_overload_cuts_once_for_all_calls_that_ran_together() {
    for config in [aimd(), gradient()] {
        let mut adaptive = Adaptive::new(&config, 100);
        let mut now = Instant::from_nanos(1_000_000_000);
        let mut refuse = |after: Duration, latency: Duration| {
            now = now + after;
            adaptive.record(now, Sample { class: Class::Throttled, latency, running: 100 });
            // The gradient's first probe hides its limit.
            match &mut adaptive {
                Adaptive::Aimd(aimd) => aimd.limit(),
                Adaptive::Gradient(gradient) => gradient.settled_limit(),
            }
        };
        for _ in 0..50 {
            assert_eq!(refuse(Duration::from_millis(1), SERVICE * 2), 90, "began before the first cut");
        }
        assert_eq!(refuse(SERVICE * 3, SERVICE), 81, "began after it");
    }
}

#[test]
fn the_limit_stays_within_its_bounds() {
    let config = AdaptiveConfig { min: places(5), max: places(9), ..aimd() };
    let mut adaptive = Adaptive::new(&config, 7);
    let mut now = Instant::from_nanos(1_000_000_000);
    for (class, bound) in [(Class::Success, 9), (Class::Unavailable, 5)] {
        for _ in 0..1_000 {
            now = now + SECOND;
            adaptive.record(now, Sample { class, latency: SERVICE, running: 9 });
        }
        assert_eq!(adaptive.limit(), bound);
    }
}

#[tokio::test(start_paused = true)]
async fn recorded_outcomes_move_the_limit_of_a_bulkhead() {
    let config = BulkheadConfig {
        queue: 1,
        wait: SECOND,
        adaptive: Some(AdaptiveConfig { decrease: Ratio::from_percent(50), ..aimd() }),
        ..BulkheadConfig::new(places(2))
    };
    let bulkhead = Bulkhead::new(config).expect("valid");
    let (first, second) = (bulkhead.try_acquire().expect("free"), bulkhead.try_acquire().expect("free"));
    let mut waiting = Box::pin(bulkhead.acquire_owned(None));
    assert!(timeout(Duration::ZERO, &mut waiting).await.is_err(), "it waits");

    first.record(MonotonicClock::now(), Class::Unavailable, Duration::ZERO);
    let stats = bulkhead.stats();
    assert_eq!((stats.limit, stats.running, stats.waiting), (1, 1, 1), "its place vanished");
    drop(second);
    let granted = waiting.await.expect("the last place is its own");
    assert_eq!(bulkhead.stats().running, 1);

    granted.record(MonotonicClock::now(), Class::Success, Duration::ZERO);
    let stats = bulkhead.stats();
    assert_eq!((stats.limit, stats.running), (2, 0));
    let _both = (bulkhead.try_acquire().expect("free"), bulkhead.try_acquire().expect("free"));
    assert!(bulkhead.try_acquire().is_err());
}

#[test]
fn aimd_takes_a_latency_that_is_just_not_too_much_and_a_half_used_limit_for_room() {
    let mut adaptive = Adaptive::new(&aimd(), 20);
    let mut now = Instant::from_nanos(1_000_000_000);
    let mut succeed = |latency, running| {
        now = now + SECOND;
        adaptive.record(now, Sample { class: Class::Success, latency, running })
    };
    let risen = (0..25).map(|_| succeed(SERVICE * 2, 11)).last();
    assert_eq!(risen, Some(21));
    assert_eq!(succeed(SERVICE * 2 + Duration::from_nanos(1), 11), 19, "one tenth less");
}

#[test]
fn algorithms_have_the_names_that_files_give_them() {
    for algorithm in [Algorithm::Aimd, Algorithm::Gradient] {
        let named = serde_json::to_string(algorithm.name()).expect("a text");
        assert_eq!(serde_json::from_str::<Algorithm>(&named).expect("a name"), algorithm);
    }
}

#[test]
fn contradictory_settings_are_refused_by_name() {
    let refused = |config: AdaptiveConfig| config.validate(places(20)).expect_err("contradictory").field;
    assert_eq!(refused(AdaptiveConfig { max: places(19), ..aimd() }), "concurrent");
    assert_eq!(refused(AdaptiveConfig { min: places(21), ..aimd() }), "concurrent");
    assert_eq!(refused(AdaptiveConfig { decrease: Ratio::ZERO, ..aimd() }), "decrease");
    assert_eq!(refused(AdaptiveConfig { latency_max: None, ..aimd() }), "latency_max");
    assert_eq!(refused(AdaptiveConfig { latency_max: Some(Duration::ZERO), ..aimd() }), "latency_max");
    assert_eq!(refused(AdaptiveConfig { latency_max: Some(SECOND), ..gradient() }), "latency_max");
    assert_eq!(refused(AdaptiveConfig { slowdown_max: Ratio::ONE, ..gradient() }), "slowdown_max");
    assert_eq!(refused(AdaptiveConfig { window: Duration::ZERO, ..gradient() }), "window");
    assert_eq!(refused(AdaptiveConfig { probe_every: SECOND, ..gradient() }), "probe_every");
    let ten_windows = AdaptiveConfig { window: SECOND / 10, probe_every: SECOND, ..gradient() };
    assert_eq!(ten_windows.validate(places(20)).err(), None, "the most that is allowed");
    let bulkhead = BulkheadConfig { adaptive: Some(aimd()), ..BulkheadConfig::new(places(201)) };
    assert_eq!(bulkhead.validate().expect_err("above max").field, "concurrent");
}

#[test]
fn a_file_names_the_algorithm_and_what_differs_from_the_defaults() {
    let read = |text| serde_json::from_str::<BulkheadConfig>(text).map(|config| config.adaptive);
    let aimd = r#"{"concurrent": 20, "adaptive": {"algorithm": "aimd", "max": 200, "latency_max": "100ms"}}"#;
    assert_eq!(read(aimd).expect("valid"), Some(self::aimd()));
    let gradient = r#"{"concurrent": 20, "adaptive": {"algorithm": "gradient", "max": 200}}"#;
    assert_eq!(read(gradient).expect("valid"), Some(AdaptiveConfig::gradient(places(200))));
    assert!(read(r#"{"concurrent": 20, "adaptive": {"algorithm": "gradient"}}"#).is_err(), "max is needed");
    assert!(read(r#"{"concurrent": 20, "adaptive": {"max": 9}}"#).is_err(), "algorithm is needed");
}
