//! Every order in which threads can meet at a breaker, by loom.

use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Evidence;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::{CircuitBreaker, CircuitBreakerConfig, Phase, Transition};
use crate::striped::be_thread;

const NOW: Instant = Instant::from_nanos(5);

/// Opens at the second failure; two probes that succeed close it.
fn config() -> CircuitBreakerConfig {
    let two = NonZeroU32::new(2).expect("2 is not zero");
    CircuitBreakerConfig { failures: Some(two), successes_to_close: two, ..CircuitBreakerConfig::sensitive() }
}

/// Opens at the second failure in a row and keeps no window.
fn consecutive() -> CircuitBreakerConfig {
    let two = NonZeroU32::new(2).expect("2 is not zero");
    CircuitBreakerConfig { failures: None, consecutive_failures: Some(two), ..config() }
}

/// A breaker, how often it opened and closed, and its probes under way.
struct Watched {
    breaker: CircuitBreaker,
    opened: Arc<AtomicU32>,
    closed: Arc<AtomicU32>,
    probes: AtomicU32,
}

impl Watched {
    fn new(config: CircuitBreakerConfig) -> Self {
        let [opened, closed] = [(); 2].map(|()| Arc::new(AtomicU32::new(0)));
        let heard = [Arc::clone(&opened), Arc::clone(&closed)];
        let listener = move |transition: Transition| match transition.to {
            Phase::Open => drop(heard[0].fetch_add(1, Ordering::Relaxed)),
            Phase::Closed => drop(heard[1].fetch_add(1, Ordering::Relaxed)),
            Phase::HalfOpen => {}
        };
        let breaker = CircuitBreaker::with_listener(config, listener).expect("valid");
        Self { breaker, opened, closed, probes: AtomicU32::new(0) }
    }

    /// One that is open and lets probes through from [`Watched::probing_at`] on.
    fn open(config: CircuitBreakerConfig) -> Self {
        let watched = Self::new(config);
        watched.call(NOW, Evidence::Failure);
        watched.call(NOW, Evidence::Failure);
        assert_eq!(watched.phase(), Phase::Open);
        watched
    }

    fn probing_at(&self) -> Instant {
        NOW + self.breaker.config().open
    }

    fn phase(&self) -> Phase {
        self.breaker.stats(NOW).phase
    }

    fn opened(&self) -> u32 {
        self.opened.load(Ordering::Relaxed)
    }

    /// A call that ends in `evidence`. False when it was rejected.
    fn call(&self, now: Instant, evidence: Evidence) -> bool {
        let Ok(permit) = self.breaker.try_admit(now) else { return false };
        permit.record(now, evidence);
        true
    }

    /// A call of a half-open breaker: none of them may see more others than there are places.
    fn probe(&self, evidence: Evidence) -> bool {
        let Ok(permit) = self.breaker.try_admit(self.probing_at()) else { return false };
        if permit.is_probe() {
            let others = self.probes.fetch_add(1, Ordering::Relaxed);
            assert!(others < 2, "{others} other probes in 2 places");
            self.probes.fetch_sub(1, Ordering::Relaxed);
        }
        permit.record(self.probing_at(), evidence);
        true
    }
}

/// What one thread does.
type Acts = fn(&Watched) -> bool;

/// Runs `threads` at the same time, each as the thread of its number, and `then` after them with what they
/// returned.
fn check<const N: usize>(
    watched: impl Fn() -> Watched + Send + Sync + 'static,
    threads: [(usize, Acts); N],
    then: fn(&Watched, [bool; N]),
) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS_MAX);
    model.check(move || {
        let watched = Arc::new(watched());
        let handles = threads.map(|(number, acts)| {
            let watched = Arc::clone(&watched);
            thread::spawn(move || {
                be_thread(number);
                acts(&watched)
            })
        });
        then(&watched, handles.map(|handle| handle.join().expect("no panic")));
    });
}

/// As for the bulkhead: each more takes many times as long.
const PREEMPTIONS_MAX: usize = 2;

const FAILS: Acts = |watched| watched.call(NOW, Evidence::Failure);

#[test]
fn two_failures_that_complete_the_threshold_open_it_exactly_once() {
    for config in [config, consecutive] {
        for other in [0, 1] {
            check(
                move || Watched::new(config()),
                [(0, FAILS), (other, FAILS)],
                |watched, _| {
                    assert_eq!((watched.phase(), watched.opened()), (Phase::Open, 1));
                },
            );
        }
    }
}

#[test]
fn of_three_failures_at_once_those_beyond_the_threshold_open_nothing_again() {
    check(
        || Watched::new(config()),
        [(0, FAILS), (1, FAILS), (1, FAILS)],
        |watched, _| {
            assert_eq!((watched.phase(), watched.opened()), (Phase::Open, 1));
        },
    );
}

#[test]
fn who_is_rejected_learns_when_probes_are_let_through() {
    let asks: Acts = |watched| {
        let Err(rejection) = watched.breaker.try_admit(NOW) else { return true };
        assert_eq!(rejection.retry_after, Some(watched.breaker.config().open));
        false
    };
    let fails_twice: Acts = |watched| FAILS(watched) && FAILS(watched);
    check(
        || Watched::new(config()),
        [(0, fails_twice), (1, asks)],
        |watched, _| {
            assert_eq!(watched.phase(), Phase::Open);
        },
    );
}

#[test]
fn calls_are_judged_by_the_phase_of_the_last_transition() {
    let fails_twice: Acts = |watched| FAILS(watched) && FAILS(watched);
    let resets: Acts = |watched| {
        watched.breaker.reset();
        true
    };
    check(
        || Watched::new(config()),
        [(0, fails_twice), (1, resets)],
        |watched, _| {
            let passes = watched.breaker.try_admit(NOW).is_ok();
            assert_eq!(passes, watched.phase() == Phase::Closed);
        },
    );
}

#[test]
fn an_outcome_of_an_old_epoch_never_opens_the_new_one() {
    for config in [config, consecutive] {
        for other in [0, 1] {
            loom::model(move || {
                let watched = Watched::new(config());
                let old = watched.breaker.try_admit_owned(NOW).expect("closed");
                let late = thread::spawn(move || {
                    be_thread(0);
                    old.record(NOW, Evidence::Failure);
                });
                be_thread(other);
                watched.breaker.reset();
                FAILS(&watched);
                late.join().expect("no panic");
                assert_eq!((watched.phase(), watched.opened()), (Phase::Closed, 0));
            });
        }
    }
}

#[test]
fn a_ramp_begins_at_its_beginning() {
    let ramp = Duration::from_nanos(100);
    let one = NonZeroU32::new(1).expect("1 is not zero");
    // Draws that a tenth of the calls does not reach.
    let draws_high = |seed: &u64| {
        fastrand::seed(*seed);
        (0..16).all(|_| fastrand::f64() >= 0.1)
    };
    let seed = (0..).find(draws_high).expect("one in six");
    loom::model(move || {
        fastrand::seed(seed);
        let watched = Watched::open(CircuitBreakerConfig { ramp, successes_to_close: one, ..config() });
        let now = watched.probing_at() + ramp;
        let probe = watched.breaker.try_admit_owned(now).expect("its time is over");
        let closes = thread::spawn(move || probe.record(now, Evidence::Success));
        let admitted = watched.breaker.try_admit(now).is_ok();
        assert!(!admitted, "by the instant at which it was to probe, the ramp would be over");
        closes.join().expect("no panic");
    });
}

#[test]
fn never_more_probes_than_places() {
    let vanishes: Acts = |watched| watched.probe(Evidence::None);
    check(
        || Watched::open(config()),
        [(0, vanishes), (1, vanishes), (1, vanishes)],
        |watched, admitted| {
            assert!(admitted.contains(&true), "{admitted:?}");
            assert_eq!(watched.phase(), Phase::HalfOpen);
            let permits = [(); 3].map(|()| watched.breaker.try_admit(watched.probing_at()));
            let admitted = permits.iter().filter(|permit| permit.is_ok()).count();
            assert_eq!(admitted, 2, "every place came back, and no other");
        },
    );
}

#[test]
fn two_probes_that_succeed_close_it_exactly_once() {
    let succeeds: Acts = |watched| watched.probe(Evidence::Success);
    check(
        || Watched::open(config()),
        [(0, succeeds), (1, succeeds)],
        |watched, admitted| {
            assert_eq!(admitted, [true, true], "there are two places");
            assert_eq!((watched.phase(), watched.closed.load(Ordering::Relaxed)), (Phase::Closed, 1));
        },
    );
}

#[test]
fn a_probe_that_fails_opens_it_again_whatever_the_other_shows() {
    let fails: Acts = |watched| watched.probe(Evidence::Failure);
    let succeeds: Acts = |watched| watched.probe(Evidence::Success);
    check(
        || Watched::open(config()),
        [(0, fails), (1, succeeds)],
        |watched, admitted| {
            if admitted[0] {
                assert_eq!((watched.phase(), watched.opened()), (Phase::Open, 2));
            }
        },
    );
}
