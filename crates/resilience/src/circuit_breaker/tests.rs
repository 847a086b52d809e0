use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Evidence;
use intertie_core::quantity::Ratio;
use intertie_core::rejection::Rejection;
use proptest::prelude::*;

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
fn standard_opens_at_five_failures_once_ten_calls_were_seen() {
    let subject = Subject::new(CircuitBreakerConfig::standard());
    for _ in 0..5 {
        assert_eq!(subject.call(at(0), Evidence::Failure), None);
    }
    for _ in 0..4 {
        assert_eq!(subject.call(at(1), Evidence::Success), None);
    }
    assert_eq!(subject.call(at(2), Evidence::Success), None, "a success opens nothing");
    let transition = subject.call(at(2), Evidence::Failure).expect("a failure, and volume enough");
    assert_eq!(transition, Transition { from: Phase::Closed, to: Phase::Open, cause: Cause::Failures });
}

#[test]
fn failures_older_than_the_window_are_forgotten() {
    let state = Subject::new(CircuitBreakerConfig::sensitive());
    for second in 0..100 {
        assert_eq!(state.call(at(second * 3), Evidence::Failure), None, "at most four in 10 s");
    }
}

#[test]
fn open_rejects_with_the_time_left_then_probes() {
    let state = Subject::opened(CircuitBreakerConfig::sensitive(), at(0));
    let rejection = state.admit(at(10)).expect_err("open");
    assert_eq!(rejection.retry_after, Some(20 * SECOND));
    assert!(!state.breaker.would_admit(at(29)));
    assert!(state.breaker.would_admit(at(30)));

    for _ in 0..2 {
        state.call(at(30), Evidence::Success);
        assert_eq!(state.phase(), Phase::HalfOpen);
    }
    let transition = state.call(at(31), Evidence::Success).expect("three successes");
    assert_eq!((transition.to, transition.cause), (Phase::Closed, Cause::ProbesSucceeded));
}

#[test]
fn one_failed_probe_opens_for_a_whole_period_again() {
    let state = Subject::opened(CircuitBreakerConfig::sensitive(), at(0));
    state.call(at(30), Evidence::Success);
    let transition = state.call(at(31), Evidence::Failure).expect("reopens");
    assert_eq!((transition.to, transition.cause), (Phase::Open, Cause::ProbeFailed));
    assert_eq!(state.admit(at(31)).expect_err("open").retry_after, Some(30 * SECOND));
}

#[test]
fn half_open_admits_no_more_probes_than_successes_are_needed() {
    let state = Subject::opened(CircuitBreakerConfig::sensitive(), at(0));
    let mut probes: Vec<_> = (0..3).map(|_| state.admit(at(30)).expect("a probe")).collect();
    assert!(state.admit(at(30)).is_err());
    probes.remove(0).record(at(31), Evidence::None);
    assert!(state.admit(at(31)).is_ok(), "a probe without evidence gives its place back");
}

#[test]
fn lost_probes_do_not_wedge_a_half_open_breaker() {
    let state = Subject::opened(CircuitBreakerConfig::sensitive(), at(0));
    let mut lost: Vec<_> = (0..3).map(|_| state.admit(at(30)).expect("a probe")).collect();
    assert!(state.admit(at(89)).is_err());
    let late = state.admit(at(90)).expect("after probe_age_max new probes pass");
    lost.remove(0).record(at(91), Evidence::Success);
    assert!(
        state.admit(at(91)).is_ok() && state.admit(at(91)).is_ok(),
        "one new place is taken, two are free"
    );
    for slow in lost {
        slow.record(at(92), Evidence::Success);
    }
    assert_eq!(state.phase(), Phase::Closed, "probes that were only slow have shown that it is back");
    late.record(at(92), Evidence::Failure);
    assert_eq!(state.phase(), Phase::Closed);
}

#[test]
fn outcomes_of_calls_begun_before_the_trip_do_not_decide_the_probe() {
    let state = Subject::new(CircuitBreakerConfig::sensitive());
    let slow: Vec<_> = (0..10).map(|_| state.admit(at(0)).expect("closed")).collect();
    for _ in 0..5 {
        state.call(at(0), Evidence::Failure);
    }
    state.call(at(30), Evidence::Success);
    for permit in slow {
        permit.record(at(31), Evidence::Failure);
    }
    assert_eq!(state.phase(), Phase::HalfOpen);
}

#[test]
fn a_count_window_slides_after_a_million_good_calls() {
    let config = CircuitBreakerConfig {
        window: Window::Calls(NonZeroU32::new(100).expect("not zero")),
        failures: None,
        failure_rate: Some(Ratio::from_percent(50)),
        ..CircuitBreakerConfig::standard()
    };
    let state = Subject::new(config);
    for _ in 0..1_000_000 {
        state.call(at(0), Evidence::Success);
    }
    for failures in 1.. {
        if state.call(at(0), Evidence::Failure).is_some() {
            assert_eq!(failures, 50);
            break;
        }
    }
}

#[test]
fn consecutive_failures_ignore_window_and_volume() {
    let config = CircuitBreakerConfig {
        failures: None,
        consecutive_failures: NonZeroU32::new(3),
        ..CircuitBreakerConfig::standard()
    };
    let state = Subject::new(config);
    for second in [0, 100] {
        state.call(at(second), Evidence::Failure);
    }
    state.call(at(200), Evidence::Success);
    for second in [300, 400] {
        assert_eq!(state.call(at(second), Evidence::Failure), None);
    }
    let cause = state.call(at(500), Evidence::Failure).expect("third in a row").cause;
    assert_eq!(cause, Cause::ConsecutiveFailures);
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
fn slow_calls_open_it_whatever_their_outcome() {
    for window in [Window::Time(60 * SECOND), Window::Calls(NonZeroU32::new(4).expect("not zero"))] {
        let subject = Subject::new(CircuitBreakerConfig { window, ..slow_calls() });
        for seconds in [0, 0, 1] {
            subject.admit(at(0)).expect("closed").record(at(seconds), Evidence::Success);
        }
        assert_eq!(subject.breaker.stats(at(1)).window_slow, 1);
        subject.admit(at(0)).expect("closed").record(at(1), Evidence::Success);
        let last = subject.heard.lock().expect("unpoisoned").last().copied();
        assert_eq!(last.expect("two of four").cause, Cause::SlowCallRate);
    }
}

#[test]
fn each_failed_probe_doubles_the_time_in_open_up_to_the_most() {
    let config = CircuitBreakerConfig { open_max: Some(100 * SECOND), ..CircuitBreakerConfig::sensitive() };
    let subject = Subject::opened(config, at(0));
    let mut now = 0;
    for expected in [30, 60, 100, 100] {
        let rejection = subject.admit(at(now)).expect_err("open");
        assert_eq!(rejection.retry_after, Some(expected * SECOND));
        now += u64::from(expected);
        subject.call(at(now), Evidence::Failure);
    }
    now += 100;
    for _ in 0..3 {
        subject.call(at(now), Evidence::Success);
    }
    for _ in 0..5 {
        subject.call(at(now), Evidence::Failure);
    }
    assert_eq!(subject.admit(at(now)).expect_err("open").retry_after, Some(30 * SECOND), "set back");
}

#[test]
fn jitter_lengthens_the_time_in_open_and_never_shortens_it() {
    let config =
        CircuitBreakerConfig { open_jitter: Ratio::from_percent(50), ..CircuitBreakerConfig::sensitive() };
    let waits: Vec<_> = (0..100)
        .map(|_| {
            let subject = Subject::opened(config.clone(), at(0));
            subject.admit(at(0)).expect_err("open").retry_after.expect("a wait")
        })
        .collect();
    assert!(waits.iter().all(|wait| (30 * SECOND..=45 * SECOND).contains(wait)), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait > 40 * SECOND) && waits.iter().any(|wait| *wait < 35 * SECOND));
}

#[test]
fn a_failures_own_hint_keeps_it_open_up_to_the_most() {
    for (hint, open) in [(10, 30), (50, 50), (3_600, 60)] {
        let subject = Subject::new(CircuitBreakerConfig::sensitive());
        let outcome = Outcome { retry_after: Some(hint * SECOND), ..Evidence::Failure.into() };
        for _ in 0..5 {
            subject.call(at(0), outcome);
        }
        assert_eq!(subject.admit(at(0)).expect_err("open").retry_after, Some(open * SECOND));
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

#[test]
fn a_ramp_lets_a_growing_share_through_after_closing() {
    let config = CircuitBreakerConfig { ramp: 100 * SECOND, ..CircuitBreakerConfig::sensitive() };
    let subject = Subject::opened(config, at(0));
    for _ in 0..3 {
        subject.call(at(30), Evidence::Success);
    }
    let share = |seconds: u64| {
        let admitted = (0..10_000).filter(|_| subject.admit(at(30 + seconds)).is_ok()).count();
        admitted as f64 / 10_000.0
    };
    for (seconds, expected) in [(0, 0.1), (30, 0.3), (80, 0.8)] {
        let share = share(seconds);
        assert!((share - expected).abs() < 0.05, "after {seconds} s: {share}");
    }
    assert_eq!((share(100), share(0)), (1.0, 1.0), "over once and for all");
    assert_eq!(subject.breaker.rejection(at(31)), None);
}

#[test]
fn threads_that_share_it_open_it_at_the_exact_count() {
    for _ in 0..50 {
        let config = CircuitBreakerConfig {
            failures: NonZeroU32::new(400),
            minimum_calls: 0,
            ..CircuitBreakerConfig::standard()
        };
        let subject = Subject::new(config);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let permit = subject.admit(at(0)).expect("399 failures are not enough");
                        permit.record(at(0), Evidence::Failure);
                    }
                });
            }
        });
        assert_eq!(subject.heard.lock().expect("unpoisoned").len(), 1);
        assert_eq!(subject.phase(), Phase::Open);
    }
}

#[test]
fn presets_and_tables_read_as_documented() {
    let read = |json| serde_json::from_str::<CircuitBreakerConfig>(json);
    assert_eq!(read("\"tolerant\"").expect("a preset"), CircuitBreakerConfig::tolerant());
    for own in [r#"{ "preset": "sensitive", "open": "5s" }"#, r#"{ "open": "5s", "preset": "sensitive" }"#] {
        let own = read(own).expect("a table");
        assert_eq!(own, CircuitBreakerConfig { open: 5 * SECOND, ..CircuitBreakerConfig::sensitive() });
    }
    let rate = read(r#"{ "failure_rate": "50%" }"#).expect("a table");
    assert_eq!(rate.failures, None, "an own condition replaces the preset's");
    assert!(read(r#"{ "opens": "5s" }"#).is_err());
    assert!(read("\"standrd\"").expect_err("unknown").to_string().contains("`standard`"));
}

#[test]
fn contradictory_settings_are_refused_by_name() {
    let standard = CircuitBreakerConfig::standard;
    let calls = |n| Window::Calls(NonZeroU32::new(n).expect("not zero"));
    for (config, field) in [
        (CircuitBreakerConfig { failures: None, ..standard() }, "failures"),
        (CircuitBreakerConfig { open: Duration::ZERO, ..standard() }, "open"),
        (CircuitBreakerConfig { window: Window::Time(Duration::ZERO), ..standard() }, "window"),
        (CircuitBreakerConfig { window: calls(9), ..standard() }, "minimum_calls"),
        (CircuitBreakerConfig { window: calls(4), minimum_calls: 0, ..standard() }, "failures"),
        (CircuitBreakerConfig { failure_rate: Some(Ratio::ZERO), ..standard() }, "failure_rate"),
        (CircuitBreakerConfig { probe_age_max: Duration::ZERO, ..standard() }, "probe_age_max"),
        (CircuitBreakerConfig { failures: NonZeroU32::new(40_000), ..standard() }, "failures"),
        (CircuitBreakerConfig { minimum_calls: 40_000, ..standard() }, "minimum_calls"),
        (CircuitBreakerConfig { slow_call_duration: Some(SECOND), ..standard() }, "slow_call_rate"),
        (CircuitBreakerConfig { slow_call_rate: Some(Ratio::ZERO), ..slow_calls() }, "slow_call_rate"),
        (CircuitBreakerConfig { open_max: Some(SECOND), ..standard() }, "open_max"),
    ] {
        assert_eq!(config.validate().expect_err(field).field, field);
    }
}

/// The same machine written as a log of everything that happened.
struct Model {
    config: CircuitBreakerConfig,
    outcomes: Vec<(u64, bool)>,
    open_until: Option<u64>,
    probes: Option<(Vec<usize>, u32, u64)>,
}

const TENTH: u64 = 1_000_000;

impl Model {
    fn phase(&self) -> Phase {
        match (&self.open_until, &self.probes) {
            (Some(_), _) => Phase::Open,
            (None, Some(_)) => Phase::HalfOpen,
            (None, None) => Phase::Closed,
        }
    }

    fn trips(&self, now: u64) -> bool {
        let alive: Vec<bool> = match self.config.window {
            Window::Time(_) => self
                .outcomes
                .iter()
                .filter(|(at, _)| at / TENTH + 10 > now / TENTH)
                .map(|(_, f)| *f)
                .collect(),
            Window::Calls(calls) => {
                let skip = self.outcomes.len().saturating_sub(calls.get() as usize);
                self.outcomes.iter().skip(skip).map(|(_, f)| *f).collect()
            }
        };
        let failures = alive.iter().filter(|failed| **failed).count();
        let in_a_row = self.outcomes.iter().rev().take_while(|(_, failed)| *failed).count();
        let volume = alive.len() >= self.config.minimum_calls as usize;
        let reached = |limit: Option<NonZeroU32>, count: usize| {
            limit.is_some_and(|limit| count >= limit.get() as usize)
        };
        let rate = self
            .config
            .failure_rate
            .is_some_and(|rate| failures as f64 >= rate.as_f64() * alive.len() as f64);
        reached(self.config.consecutive_failures, in_a_row)
            || volume && failures > 0 && (reached(self.config.failures, failures) || rate)
    }
}

proptest! {
    /// Random calls that overlap in time, resolve in any order or never, against the log.
    #[test]
    fn the_machine_equals_its_log(
        by_count in any::<bool>(),
        failures in prop::option::of(1_u32..6),
        rate in prop::option::of(1_u32..=100),
        consecutive in prop::option::of(1_u32..5),
        minimum_calls in 0_u32..8,
        steps in prop::collection::vec((0_u64..4 * TENTH, 0_usize..8, 0_u8..10), 1..300),
    ) {
        let window = if by_count {
            Window::Calls(NonZeroU32::new(8).expect("not zero"))
        } else {
            Window::Time(Duration::from_nanos(TENTH * 10))
        };
        let config = CircuitBreakerConfig {
            window,
            failures: failures.and_then(NonZeroU32::new),
            failure_rate: rate.map(Ratio::from_percent),
            consecutive_failures: consecutive.and_then(NonZeroU32::new),
            minimum_calls,
            open: Duration::from_nanos(20 * TENTH),
            probe_age_max: Duration::from_nanos(30 * TENTH),
            ..CircuitBreakerConfig::standard()
        };
        prop_assume!(config.validate().is_ok());
        let subject = Subject::new(config.clone());
        let mut model = Model { config, outcomes: Vec::new(), open_until: None, probes: None };
        let mut era = 0_usize;
        // Calls in flight: the permit, and the model's (era, call number).
        let mut in_flight: Vec<(Permit<'_>, usize, usize)> = Vec::new();
        let mut now = 100 * TENTH;
        for (number, (step, choice, what)) in steps.into_iter().enumerate() {
            now += step;
            let instant = Instant::from_nanos(now);
            if what < 4 || in_flight.is_empty() {
                let would = subject.breaker.would_admit(instant);
                let admitted = subject.admit(instant);
                prop_assert_eq!(would, admitted.is_ok());
                let expected = match (model.open_until, &mut model.probes) {
                    (Some(until), _) if now < until => false,
                    (Some(_), probes) => {
                        *probes = Some((vec![number], 0, now));
                        model.open_until = None;
                        era += 1;
                        true
                    }
                    (None, Some((places, _, last))) if places.len() < 3 => {
                        places.push(number);
                        *last = now;
                        true
                    }
                    (None, Some((places, _, last))) if now - *last >= 30 * TENTH => {
                        *places = vec![number];
                        *last = now;
                        true
                    }
                    (None, Some(_)) => false,
                    (None, None) => true,
                };
                prop_assert_eq!(admitted.is_ok(), expected);
                if let Ok(permit) = admitted {
                    in_flight.push((permit, era, number));
                }
            } else {
                let (permit, call_era, call) = in_flight.swap_remove(choice % in_flight.len());
                let evidence = match what {
                    4..=6 => Evidence::Failure,
                    7..=8 => Evidence::Success,
                    _ => Evidence::None,
                };
                permit.record(instant, evidence);
                if call_era == era {
                    match (&mut model.probes, evidence) {
                        (Some(_), Evidence::Failure) => {
                            model.probes = None;
                            model.open_until = Some(now + 20 * TENTH);
                            era += 1;
                        }
                        (Some((places, successes, _)), evidence) => {
                            places.retain(|place| *place != call);
                            *successes += u32::from(evidence == Evidence::Success);
                            if *successes == 3 {
                                model.probes = None;
                                model.outcomes.clear();
                                era += 1;
                            }
                        }
                        (None, Evidence::None) => {}
                        (None, evidence) => {
                            model.outcomes.push((now, evidence == Evidence::Failure));
                            if evidence == Evidence::Failure && model.trips(now) {
                                model.open_until = Some(now + 20 * TENTH);
                                era += 1;
                            }
                        }
                    }
                }
            }
            prop_assert_eq!(subject.phase(), model.phase());
        }
        // What is left in flight would be given back on another clock.
        for (permit, ..) in in_flight {
            permit.record(Instant::from_nanos(now), Evidence::None);
        }
    }
}
