//! How long it stays open, who may probe, and what closes it.

use intertie_core::failure::Evidence;
use intertie_core::quantity::Ratio;

use super::*;

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
