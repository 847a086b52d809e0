use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Evidence;
use intertie_core::quantity::Ratio;
use intertie_resilience::circuit_breaker::{Phase, Window};
use intertie_resilience::{CircuitBreaker, CircuitBreakerConfig};

use super::{SECOND, at, number};

/// Opens at half of the last ten calls, and at no less than four.
fn half_of_ten() -> CircuitBreakerConfig {
    CircuitBreakerConfig {
        window: Window::Calls(number(10)),
        failures: None,
        failure_rate: Some(Ratio::from_percent(50)),
        minimum_calls: 4,
        ..CircuitBreakerConfig::standard()
    }
}

fn call(breaker: &CircuitBreaker, now: Instant, evidence: Evidence) {
    breaker.try_admit(now).expect("admitted").record(now, evidence);
}

fn phase(breaker: &CircuitBreaker, now: Instant) -> Phase {
    breaker.stats(now).phase
}

/// One that is open until [`probing`].
fn opened(config: CircuitBreakerConfig) -> CircuitBreaker {
    let breaker = CircuitBreaker::new(config).expect("valid");
    while phase(&breaker, at(0)) == Phase::Closed {
        call(&breaker, at(0), Evidence::Failure);
    }
    breaker
}

/// When a breaker that opened at `at(0)` lets probes through.
fn probing(breaker: &CircuitBreaker) -> Instant {
    at(0) + breaker.config().open
}

/// Defect 1: tower-resilience's count window (`circuitbreaker/src/circuit.rs`) only ever grows, so that after a
/// million good calls an outage needs a million bad ones.
#[test]
fn a_count_window_slides() {
    let breaker = CircuitBreaker::new(half_of_ten()).expect("valid");
    for _ in 0..1_000_000 {
        call(&breaker, at(0), Evidence::Success);
    }
    for failures in 1..=5 {
        assert_eq!(phase(&breaker, at(0)), Phase::Closed, "before failure {failures}");
        call(&breaker, at(0), Evidence::Failure);
    }
    assert_eq!(phase(&breaker, at(0)), Phase::Open);
}

/// Defect 1, second half: tower-resilience judges nothing before the window is full
/// (joshrotenberg/mcp-proxy #221).
#[test]
fn a_count_window_is_judged_before_it_is_full() {
    let breaker = CircuitBreaker::new(half_of_ten()).expect("valid");
    for _ in 0..4 {
        assert_eq!(phase(&breaker, at(0)), Phase::Closed);
        call(&breaker, at(0), Evidence::Failure);
    }
    assert_eq!(phase(&breaker, at(0)), Phase::Open, "four calls are the minimum");
}

/// Defect 2: a probe whose outcome is never recorded holds its place for ever (resilience4j #544, #903, #935
/// and #2172, kubeflow/mcp-server #222).
#[test]
fn half_open_never_wedges() {
    let breaker = opened(CircuitBreakerConfig::sensitive());
    for _ in 0..100 {
        drop(breaker.try_admit(probing(&breaker)).expect("the probe before gave its place back"));
    }
    let lost: Vec<_> = (0..3).map(|_| breaker.try_admit(probing(&breaker)).expect("a place")).collect();
    breaker.try_admit(probing(&breaker)).expect_err("three places");
    let much_later = probing(&breaker) + breaker.config().probe_age_max;
    call(&breaker, much_later, Evidence::Success);
    drop(lost);
    assert_eq!(phase(&breaker, much_later), Phase::HalfOpen);
}

/// Defect 3: more calls than allowed slip through as an open breaker turns half-open (resilience4j #1432,
/// Polly #216 and #254, tower-resilience #382).
#[test]
fn no_more_probes_pass_than_there_are_places() {
    for _ in 0..50 {
        let breaker = opened(CircuitBreakerConfig::sensitive());
        let (barrier, admitted) = (Barrier::new(8), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    let permit = breaker.try_admit(probing(&breaker));
                    admitted.fetch_add(u32::from(permit.is_ok()), Ordering::Relaxed);
                    barrier.wait();
                });
            }
        });
        assert_eq!(admitted.into_inner(), breaker.config().successes_to_close.get());
    }
}

/// Defect 3, second half: one probe alone decides, so that a flaky dependency opens and closes it all the time
/// (Polly #239 and #2381).
#[test]
fn one_lucky_probe_does_not_close_it() {
    let breaker = opened(CircuitBreakerConfig::sensitive());
    call(&breaker, probing(&breaker), Evidence::Success);
    assert_eq!(phase(&breaker, probing(&breaker)), Phase::HalfOpen);
    call(&breaker, probing(&breaker), Evidence::Failure);
    assert_eq!(phase(&breaker, probing(&breaker)), Phase::Open);
}

/// Defect 4: the outcome of a call that began before the breaker opened decides the probe (Polly #217).
#[test]
fn a_call_from_before_it_opened_decides_no_probe() {
    for evidence in [Evidence::Success, Evidence::Failure] {
        let breaker = CircuitBreaker::new(CircuitBreakerConfig::sensitive()).expect("valid");
        let early: Vec<_> = (0..8).map(|_| breaker.try_admit(at(0)).expect("closed")).collect();
        while phase(&breaker, at(0)) == Phase::Closed {
            call(&breaker, at(0), Evidence::Failure);
        }
        let probe = breaker.try_admit(probing(&breaker)).expect("its time is over");
        early.into_iter().for_each(|permit| permit.record(probing(&breaker), evidence));
        assert_eq!(phase(&breaker, probing(&breaker)), Phase::HalfOpen, "{evidence:?}");
        drop(probe);
    }
}

/// Defect 4, second half: so does a probe of an earlier half-open phase.
#[test]
fn a_probe_from_before_it_opened_again_decides_nothing() {
    for evidence in [Evidence::Success, Evidence::Failure] {
        let breaker = opened(CircuitBreakerConfig::sensitive());
        let early: Vec<_> = (0..2).map(|_| breaker.try_admit(probing(&breaker)).expect("a place")).collect();
        call(&breaker, probing(&breaker), Evidence::Failure);
        let again = probing(&breaker) + breaker.config().open;
        call(&breaker, again, Evidence::Success);
        early.into_iter().for_each(|probe| probe.record(again, evidence));
        assert_eq!(phase(&breaker, again), Phase::HalfOpen, "{evidence:?}");
    }
}

/// Defect 21: all traffic comes back at once when the breaker closes (resilience4j #985).
#[test]
fn calls_return_along_a_ramp() {
    let breaker = opened(CircuitBreakerConfig { ramp: 10 * SECOND, ..CircuitBreakerConfig::sensitive() });
    let closed = probing(&breaker);
    for _ in 0..3 {
        call(&breaker, closed, Evidence::Success);
    }
    let share = |seconds: u32| {
        let now = closed + SECOND * seconds;
        (0..10_000).filter(|_| breaker.try_admit(now).is_ok()).count() / 100
    };
    assert!((5..=15).contains(&share(0)), "a tenth at first");
    assert!((44..=56).contains(&share(5)), "half of the way");
    assert_eq!(share(10), 100);
}

/// Defect 21, second half: all callers probe together (bolshakov/stoplight #364).
#[test]
fn breakers_that_opened_together_do_not_probe_together() {
    let jittered =
        CircuitBreakerConfig { open_jitter: Ratio::from_percent(50), ..CircuitBreakerConfig::sensitive() };
    let wait = || opened(jittered.clone()).rejection(at(0)).and_then(|rejection| rejection.retry_after);
    let waits: Vec<Duration> = (0..100).map(|_| wait().expect("open")).collect();
    let (least, most) = (waits.iter().min().expect("some"), waits.iter().max().expect("some"));
    assert!(*least >= 30 * SECOND && *most <= 45 * SECOND, "{least:?} to {most:?}");
    assert!(*most - *least > 10 * SECOND, "{least:?} to {most:?}");
}

/// Our own: epochs were told apart modulo 256, and buckets of long ago taken for later ones. A breaker whose
/// probes had failed for half an hour never opened again.
#[test]
fn it_opens_again_after_an_outage_of_any_length() {
    for failed_probes in [0, 1, 62, 63, 64, 65, 100, 126, 127, 128, 500] {
        let breaker = opened(CircuitBreakerConfig::sensitive());
        let mut now = probing(&breaker);
        for _ in 0..failed_probes {
            call(&breaker, now, Evidence::Failure);
            now = now + breaker.config().open;
        }
        for _ in 0..3 {
            call(&breaker, now, Evidence::Success);
        }
        assert_eq!(phase(&breaker, now), Phase::Closed);
        for _ in 0..5 {
            call(&breaker, now, Evidence::Failure);
        }
        assert_eq!(phase(&breaker, now), Phase::Open, "after {failed_probes} failed probes");
    }
}

/// Our own: after a rest of half of the numbers' range, a thread's counts were taken for later ones.
#[test]
fn it_opens_after_a_rest_of_any_length() {
    for hours in [1, 24, 90, 91, 92, 100, 150, 182, 1_000, 10_000] {
        let breaker = CircuitBreaker::new(CircuitBreakerConfig::sensitive()).expect("valid");
        call(&breaker, at(0), Evidence::Success);
        let now = at(hours * 3_600);
        for _ in 0..5 {
            call(&breaker, now, Evidence::Failure);
        }
        assert_eq!(phase(&breaker, now), Phase::Open, "after {hours} h");
    }
}

/// Defect 8: the state that processes share is shared by copies (sony/gobreaker #73). Here clones are handles.
#[test]
fn clones_share_their_state() {
    let breaker = Arc::new(CircuitBreaker::new(CircuitBreakerConfig::sensitive()).expect("valid"));
    for _ in 0..5 {
        call(&CircuitBreaker::clone(&breaker), at(0), Evidence::Failure);
    }
    assert_eq!(phase(&breaker, at(0)), Phase::Open);
}
