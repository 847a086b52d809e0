//! Every order in which threads can meet at the gate, by loom.
//!
//! Two stripes stand for eight: with them places are stolen and migrate, and more multiply the orders.

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::criticality::Criticality;

use super::caller::Caller;
use super::config::Order;
use super::gate::{Entry, Gate, Verdict};
use super::state::Queue;

/// A gate that counts who is inside.
struct Watched {
    gate: Gate,
    concurrent: u32,
    inside: AtomicU32,
}

impl Watched {
    fn new(concurrent: u32, seats: u32, stripes: usize) -> Arc<Self> {
        let queue = Queue::new(Order::Fifo, seats, Duration::ZERO);
        let gate = Gate::new(concurrent, stripes, queue, || Instant::ORIGIN);
        Arc::new(Self { gate, concurrent, inside: AtomicU32::new(0) })
    }

    /// Runs a call that holds a place, and checks that no more hold one than may.
    fn run(&self, home: usize) {
        let others = self.inside.fetch_add(1, Ordering::AcqRel);
        assert!(others < self.concurrent, "{others} others inside of {}", self.concurrent);
        self.inside.fetch_sub(1, Ordering::AcqRel);
        self.gate.leave(home);
    }

    /// Waits for a place if need be. Loom reports a deadlock when it is never woken.
    fn call(&self, home: usize) {
        assert!(self.call_as(home, Caller::default()), "there is a seat for everyone");
    }

    /// The same, and whether the call had its turn.
    fn call_as(&self, home: usize, caller: Caller) -> bool {
        let runs = match self.gate.enter(home, Some(caller)) {
            Entry::Running => true,
            Entry::Waiting(wait) => block_on(wait) == Verdict::Granted,
            Entry::Rejected => false,
        };
        if runs {
            self.run(home);
        }
        runs
    }

    fn try_call(&self, home: usize) -> bool {
        let entered = matches!(self.gate.enter(home, None), Entry::Running);
        if entered {
            self.run(home);
        }
        entered
    }

    fn finish(&self) {
        let (limit, running, waiting, _) = self.gate.count();
        assert_eq!((running, waiting), (0, 0), "every place came back");
        let entered =
            (0..4).take_while(|home| matches!(self.gate.enter(*home, None), Entry::Running)).count();
        assert_eq!(entered, limit as usize, "and no more than the limit");
    }
}

/// What one thread does.
type Call = fn(&Watched);

/// Runs `first` on the present thread and `others` on their own, in every order with few forced switches.
fn check(concurrent: u32, seats: u32, stripes: usize, first: Call, others: [Call; 2]) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS_MAX);
    model.check(move || {
        let watched = Watched::new(concurrent, seats, stripes);
        let threads = others.map(|call| {
            let watched = Arc::clone(&watched);
            thread::spawn(move || call(&watched))
        });
        first(&watched);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        watched.finish();
    });
}

/// Two or three forced switches of threads catch most faults, says loom's manual; each more takes many times
/// as long.
const PREEMPTIONS_MAX: usize = 2;

#[test]
fn one_place_in_one_stripe_serves_two_waiting_threads() {
    check(1, 2, 1, |gate| gate.call(0), [|gate| gate.call(0), |gate| gate.call(0)]);
}

#[test]
fn one_place_that_migrates_between_stripes_wakes_who_waits() {
    check(1, 2, 2, |gate| gate.call(0), [|gate| gate.call(1), |gate| gate.call(1)]);
}

#[test]
fn two_places_are_never_three() {
    check(2, 2, 2, |gate| gate.call(0), [|gate| gate.call(0), |gate| gate.call(1)]);
}

#[test]
fn a_place_that_was_put_back_elsewhere_is_found_again() {
    let moves = |gate: &Watched| {
        assert!(
            matches!(gate.gate.enter(0, Some(Caller::default())), Entry::Running),
            "two places, one other call"
        );
        gate.run(1);
    };
    check(2, 2, 2, moves, [|gate| gate.call(1), |_| {}]);
}

#[test]
fn a_free_place_is_found_however_places_migrate() {
    let migrates = |gate: &Watched| {
        for home in [1, 0] {
            assert!(gate.try_call(home), "three places, two other calls");
        }
    };
    let once = |gate: &Watched| assert!(gate.try_call(0), "three places, two other calls");
    check(3, 2, 2, once, [migrates, once]);
}

#[test]
fn a_place_granted_to_a_call_that_gave_up_goes_to_the_next() {
    let gives_up = |gate: &Watched| match gate.gate.enter(1, Some(Caller::default())) {
        Entry::Running => gate.run(1),
        Entry::Waiting(wait) => drop(wait),
        Entry::Rejected => panic!("the queue has a seat for everyone"),
    };
    check(1, 2, 2, |gate| gate.call(0), [gives_up, |gate| gate.call(0)]);
}

#[test]
fn a_call_that_is_turned_out_is_told_and_takes_no_place_along() {
    let sheddable = |gate: &Watched| {
        gate.call_as(1, Caller { criticality: Criticality::Sheddable, ..Caller::default() });
    };
    let critical = |gate: &Watched| {
        let caller = Caller { criticality: Criticality::Critical, ..Caller::default() };
        assert!(gate.call_as(1, caller), "it ranks above whoever sits in its way");
    };
    let default = |gate: &Watched| {
        gate.call_as(0, Caller::default());
    };
    check(1, 1, 2, default, [sheddable, critical]);
}

#[test]
fn a_limit_that_falls_and_rises_loses_no_place_and_nobody_who_waits() {
    let resizes = |gate: &Watched| {
        gate.gate.resize(1);
        gate.gate.resize(2);
    };
    check(2, 2, 2, |gate| gate.call(0), [|gate| gate.call(1), resizes]);
}

#[test]
fn a_limit_that_fell_holds_once_the_calls_before_it_ended() {
    let falls = |gate: &Watched| {
        gate.call(0);
        gate.gate.resize(1);
    };
    let calls = |gate: &Watched| {
        gate.call(1);
    };
    check(2, 2, 2, falls, [calls, calls]);
}
