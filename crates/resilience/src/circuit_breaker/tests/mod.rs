mod config;
mod half_open;
mod model;
mod opening;
mod state;

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Evidence;
use intertie_core::quantity::Ratio;
use intertie_core::rejection::Rejection;

use super::*;
use crate::MonotonicClock;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(1_000) + SECOND * u32::try_from(seconds).expect("small")
}

/// A breaker and what its listener heard.
struct Subject {
    breaker: CircuitBreaker,
    heard: Arc<Mutex<Vec<Transition>>>,
}

impl Subject {
    fn new(config: CircuitBreakerConfig) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&heard);
        let listener = move |transition| sink.lock().expect("unpoisoned").push(transition);
        let breaker = CircuitBreaker::with_listener(config, listener).expect("valid");
        Self { breaker, heard }
    }

    /// One that five failures in a row opened at `now`.
    fn opened(config: CircuitBreakerConfig, now: Instant) -> Self {
        let subject = Self::new(config);
        while subject.phase() == Phase::Closed {
            subject.call(now, Evidence::Failure);
        }
        subject
    }

    fn phase(&self) -> Phase {
        self.breaker.stats(at(0)).phase
    }

    fn admit(&self, now: Instant) -> Result<Permit<'_>, Rejection> {
        self.breaker.try_admit(now)
    }

    /// Admits and resolves one call at once; the last transition that it caused.
    fn call(&self, now: Instant, outcome: impl Into<Outcome>) -> Option<Transition> {
        let before = self.heard.lock().expect("unpoisoned").len();
        self.admit(now).expect("admitted").record(now, outcome);
        self.heard.lock().expect("unpoisoned").get(before..)?.last().copied()
    }
}

#[test]
fn permits_resolve_when_dropped_or_unwound() {
    let breaker = CircuitBreaker::new(CircuitBreakerConfig::sensitive()).expect("valid");
    let now = MonotonicClock::now();
    drop(breaker.try_admit(now).expect("closed"));
    drop(breaker.try_admit_owned(now).expect("closed"));
    assert_eq!(breaker.stats(MonotonicClock::now()).window_calls, 0);

    let borrowed = breaker.try_admit(now).expect("closed");
    let owned = breaker.try_admit_owned(now).expect("closed");
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _held = (borrowed, owned);
        panic!("the operation panics");
    }));
    assert!(unwound.is_err());
    assert_eq!(breaker.stats(MonotonicClock::now()).window_failures, 2);
}

#[test]
fn the_listener_hears_each_transition_once() {
    let subject = Subject::opened(CircuitBreakerConfig::sensitive(), at(0));
    for _ in 0..3 {
        subject.call(at(30), Evidence::Success);
    }
    let heard: Vec<_> = subject.heard.lock().expect("unpoisoned").iter().map(|told| told.to).collect();
    assert_eq!(heard, [Phase::Open, Phase::HalfOpen, Phase::Closed]);
    assert_eq!(subject.breaker.stats(at(31)).opened, 1);
}

fn slow_calls() -> CircuitBreakerConfig {
    CircuitBreakerConfig {
        failures: None,
        slow_call_duration: Some(SECOND),
        slow_call_rate: Some(Ratio::from_percent(50)),
        minimum_calls: 4,
        ..CircuitBreakerConfig::standard()
    }
}

#[test]
fn an_observer_changes_its_phase_and_rejects_nothing() {
    let config = CircuitBreakerConfig { mode: Mode::Observe, ..CircuitBreakerConfig::sensitive() };
    let subject = Subject::opened(config, at(0));
    assert_eq!(subject.call(at(1), Evidence::Failure), None, "let through, and not counted");
    let stats = subject.breaker.stats(at(1));
    assert_eq!((stats.phase, stats.rejected), (Phase::Open, 1), "it would have been rejected");
    for _ in 0..3 {
        subject.call(at(30), Evidence::Success);
    }
    assert_eq!(subject.phase(), Phase::Closed);
}

#[test]
fn modes_and_reset_are_set_by_hand() {
    let subject = Subject::opened(CircuitBreakerConfig::sensitive(), at(0));
    subject.breaker.set_mode(Mode::Disabled);
    assert!(subject.admit(at(1)).is_ok() && subject.breaker.would_admit(at(1)));
    subject.breaker.set_mode(Mode::ForcedOpen);
    for now in [at(1), at(100)] {
        let rejection = subject.admit(now).expect_err("whatever the time");
        assert_eq!((rejection.bound, rejection.retry_after), ("forced_open", None));
        assert!(!subject.breaker.would_admit(now));
    }
    subject.breaker.set_mode(Mode::Enforce);
    assert!(subject.admit(at(1)).is_err(), "it is still open");
    subject.breaker.reset();
    assert_eq!(subject.phase(), Phase::Closed);
    for _ in 0..4 {
        assert_eq!(subject.call(at(1), Evidence::Failure), None, "the window began anew");
    }
    assert_eq!(subject.call(at(1), Evidence::Failure).expect("five").to, Phase::Open);
}
