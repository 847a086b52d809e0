use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Evidence;
use intertie_core::quantity::Ratio;
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(1_000) + SECOND * u32::try_from(seconds).expect("small")
}

/// Admits and resolves one call at once.
fn call(state: &mut State, now: Instant, evidence: Evidence) -> Option<Transition> {
    let (admission, transition) = state.admit(now).expect("admitted");
    transition.or(state.record(now, admission, evidence))
}

fn opened(config: CircuitBreakerConfig, now: Instant) -> State {
    let mut state = State::new(config);
    while state.phase() == Phase::Closed {
        call(&mut state, now, Evidence::Failure);
    }
    state
}

#[test]
fn standard_opens_at_five_failures_once_ten_calls_were_seen() {
    let mut state = State::new(CircuitBreakerConfig::standard());
    for _ in 0..5 {
        assert_eq!(call(&mut state, at(0), Evidence::Failure), None);
    }
    for _ in 0..4 {
        assert_eq!(call(&mut state, at(1), Evidence::Success), None);
    }
    let transition = call(&mut state, at(2), Evidence::Success).expect("the tenth call completes the volume");
    assert_eq!(transition, Transition { from: Phase::Closed, to: Phase::Open, cause: Cause::Failures });
}

#[test]
fn failures_older_than_the_window_are_forgotten() {
    let mut state = State::new(CircuitBreakerConfig::sensitive());
    for second in 0..100 {
        assert_eq!(call(&mut state, at(second * 3), Evidence::Failure), None, "at most four in 10 s");
    }
}

#[test]
fn open_rejects_with_the_time_left_then_probes() {
    let mut state = opened(CircuitBreakerConfig::sensitive(), at(0));
    let rejection = state.admit(at(10)).expect_err("open");
    assert_eq!(rejection.retry_after, Some(20 * SECOND));
    assert!(!state.would_admit(at(29)));
    assert!(state.would_admit(at(30)));

    for _ in 0..2 {
        call(&mut state, at(30), Evidence::Success);
        assert_eq!(state.phase(), Phase::HalfOpen);
    }
    let transition = call(&mut state, at(31), Evidence::Success).expect("three successes");
    assert_eq!((transition.to, transition.cause), (Phase::Closed, Cause::ProbesSucceeded));
}

#[test]
fn one_failed_probe_opens_for_a_whole_period_again() {
    let mut state = opened(CircuitBreakerConfig::sensitive(), at(0));
    call(&mut state, at(30), Evidence::Success);
    let transition = call(&mut state, at(31), Evidence::Failure).expect("reopens");
    assert_eq!((transition.to, transition.cause), (Phase::Open, Cause::ProbeFailed));
    assert_eq!(state.admit(at(31)).expect_err("open").retry_after, Some(30 * SECOND));
}

#[test]
fn half_open_admits_no_more_probes_than_successes_are_needed() {
    let mut state = opened(CircuitBreakerConfig::sensitive(), at(0));
    let probes: Vec<_> = (0..3).map(|_| state.admit(at(30)).expect("a probe").0).collect();
    assert!(state.admit(at(30)).is_err());
    state.record(at(31), probes[0], Evidence::None);
    assert!(state.admit(at(31)).is_ok(), "a probe without evidence gives its place back");
}

#[test]
fn lost_probes_do_not_wedge_a_half_open_breaker() {
    let mut state = opened(CircuitBreakerConfig::sensitive(), at(0));
    let lost: Vec<_> = (0..3).map(|_| state.admit(at(30)).expect("a probe").0).collect();
    assert!(state.admit(at(89)).is_err());
    assert!(state.admit(at(90)).is_ok(), "after probe_age_max new probes pass");
    assert_eq!(state.record(at(91), lost[0], Evidence::Failure), None, "the lost ones count for nothing");
    assert_eq!(state.phase(), Phase::HalfOpen);
}

#[test]
fn outcomes_of_calls_begun_before_the_trip_do_not_decide_the_probe() {
    let mut state = State::new(CircuitBreakerConfig::sensitive());
    let slow: Vec<_> = (0..10).map(|_| state.admit(at(0)).expect("closed").0).collect();
    for _ in 0..5 {
        call(&mut state, at(0), Evidence::Failure);
    }
    call(&mut state, at(30), Evidence::Success);
    for admission in slow {
        assert_eq!(state.record(at(31), admission, Evidence::Failure), None);
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
    let mut state = State::new(config);
    for _ in 0..1_000_000 {
        call(&mut state, at(0), Evidence::Success);
    }
    for failures in 1.. {
        if call(&mut state, at(0), Evidence::Failure).is_some() {
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
    let mut state = State::new(config);
    for second in [0, 100] {
        call(&mut state, at(second), Evidence::Failure);
    }
    call(&mut state, at(200), Evidence::Success);
    for second in [300, 400] {
        assert_eq!(call(&mut state, at(second), Evidence::Failure), None);
    }
    let cause = call(&mut state, at(500), Evidence::Failure).expect("third in a row").cause;
    assert_eq!(cause, Cause::ConsecutiveFailures);
}

#[test]
fn permits_resolve_when_dropped_or_unwound() {
    let breaker = CircuitBreaker::new(CircuitBreakerConfig::sensitive()).expect("valid");
    drop(breaker.try_admit(at(0)).expect("closed"));
    assert_eq!(breaker.stats(at(0)).failures, 0);

    let permit = breaker.try_admit(at(0)).expect("closed");
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _held = permit;
        panic!("the operation panics");
    }));
    assert!(unwound.is_err());
    assert_eq!(breaker.stats(at(0)).failures, 1);
}

#[test]
fn the_listener_hears_each_transition_once() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&heard);
    let breaker = CircuitBreaker::with_listener(CircuitBreakerConfig::sensitive(), move |transition| {
        sink.lock().expect("unpoisoned").push(transition.to);
    })
    .expect("valid");
    for _ in 0..5 {
        breaker.try_admit(at(0)).expect("closed").record(at(0), Evidence::Failure);
    }
    for _ in 0..3 {
        breaker.try_admit(at(30)).expect("probe").record(at(30), Evidence::Success);
    }
    assert_eq!(*heard.lock().expect("unpoisoned"), [Phase::Open, Phase::HalfOpen, Phase::Closed]);
    assert_eq!(breaker.stats(at(31)).opened, 1);
}

#[test]
fn presets_and_tables_read_as_documented() {
    let read = |json| serde_json::from_str::<CircuitBreakerConfig>(json);
    assert_eq!(read("\"tolerant\"").expect("a preset"), CircuitBreakerConfig::tolerant());
    let own = read(r#"{ "preset": "sensitive", "open": "5s" }"#).expect("a table");
    assert_eq!(own, CircuitBreakerConfig { open: 5 * SECOND, ..CircuitBreakerConfig::sensitive() });
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

const TENTH: u64 = 1_000;

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
        steps in prop::collection::vec((0_u64..4_000, 0_usize..8, 0_u8..10), 1..300),
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
            open: Duration::from_nanos(20_000),
            probe_age_max: Duration::from_nanos(30_000),
            ..CircuitBreakerConfig::standard()
        };
        let mut state = State::new(config.clone());
        let mut model = Model { config, outcomes: Vec::new(), open_until: None, probes: None };
        let mut era = 0_usize;
        // Calls in flight: the admission, and the model's (era, call number).
        let mut in_flight: Vec<(Admission, usize, usize)> = Vec::new();
        let mut now = 100_000;
        for (number, (step, choice, what)) in steps.into_iter().enumerate() {
            now += step;
            let instant = Instant::from_nanos(now);
            if what < 4 || in_flight.is_empty() {
                let would = state.would_admit(instant);
                let admitted = state.admit(instant);
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
                    (None, Some((places, successes, last))) if now - *last >= 30_000 => {
                        *places = vec![number];
                        *successes = 0;
                        *last = now;
                        era += 1;
                        true
                    }
                    (None, Some(_)) => false,
                    (None, None) => true,
                };
                prop_assert_eq!(admitted.is_ok(), expected);
                if let Ok((admission, _)) = admitted {
                    in_flight.push((admission, era, number));
                }
            } else {
                let (admission, call_era, call) = in_flight.swap_remove(choice % in_flight.len());
                let evidence = match what {
                    4..=6 => Evidence::Failure,
                    7..=8 => Evidence::Success,
                    _ => Evidence::None,
                };
                state.record(instant, admission, evidence);
                if call_era == era {
                    match (&mut model.probes, evidence) {
                        (Some(_), Evidence::Failure) => {
                            model.probes = None;
                            model.open_until = Some(now + 20_000);
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
                            if model.trips(now) {
                                model.open_until = Some(now + 20_000);
                                era += 1;
                            }
                        }
                    }
                }
            }
            prop_assert_eq!(state.phase(), model.phase());
        }
    }
}
