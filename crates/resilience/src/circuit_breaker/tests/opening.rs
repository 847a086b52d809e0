//! What opens a closed breaker, and what does not.

use std::num::NonZeroU32;

use intertie_core::failure::Evidence;
use intertie_core::quantity::Ratio;

use super::*;

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
fn slow_calls_wait_for_the_volume_too() {
    for window in [Window::Time(60 * SECOND), Window::Calls(NonZeroU32::new(4).expect("not zero"))] {
        let subject = Subject::new(CircuitBreakerConfig { window, ..slow_calls() });
        for calls in 1..=3 {
            subject.admit(at(0)).expect("closed").record(at(1), Evidence::Success);
            assert_eq!(
                subject.phase(),
                Phase::Closed,
                "{calls} slow calls of {calls}, and four are asked for"
            );
        }
        subject.admit(at(0)).expect("closed").record(at(1), Evidence::Success);
        assert_eq!(subject.phase(), Phase::Open);
    }
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
