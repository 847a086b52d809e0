//! Every order in which threads can meet at a budget, by loom.

use std::num::NonZeroU32;

use intertie_core::clock::Instant;
use intertie_core::quantity::Ratio;
use loom::thread;

use super::{BudgetLimits, RetryBudget};
use crate::striped::be_thread;

const NOW: Instant = Instant::from_nanos(5);

fn budget_of(ratio: Ratio, minimum: u32) -> RetryBudget {
    RetryBudget::new(BudgetLimits { ratio, minimum, in_flight: None })
}

/// Runs two threads at the same time: each enters a call and asks for a repetition. How many of the two
/// repetitions `budget` paid for, and in the end its word on that.
fn paid(budget: &RetryBudget) -> u64 {
    let other = budget.clone();
    let asks = thread::spawn(move || {
        be_thread(1);
        other.deposit(NOW);
        u64::from(other.withdraw(NOW).is_some())
    });
    be_thread(0);
    budget.deposit(NOW);
    let paid = u64::from(budget.withdraw(NOW).is_some()) + asks.join().expect("no panic");
    let stats = budget.stats(NOW);
    assert_eq!((stats.withdrawn, stats.refused), (paid, 2 - paid));
    paid
}

#[test]
fn repetitions_never_exceed_their_share_of_the_calls() {
    loom::model(|| {
        let paid = paid(&budget_of(Ratio::from_percent(50), 0));
        assert_eq!(paid, 1, "half of two calls: whoever asks last sees both");
    });
}

#[test]
fn repetitions_never_exceed_their_minimum_without_a_share() {
    loom::model(|| assert_eq!(paid(&budget_of(Ratio::ZERO, 1)), 1));
}

#[test]
fn repetitions_in_flight_never_exceed_their_bound() {
    loom::model(|| {
        let limits = BudgetLimits { ratio: Ratio::ZERO, minimum: 2, in_flight: NonZeroU32::new(1) };
        let budget = RetryBudget::new(limits);
        let other = budget.clone();
        let holds = thread::spawn(move || {
            be_thread(1);
            other.withdraw(NOW).is_some()
        });
        be_thread(0);
        let held = budget.withdraw(NOW);
        assert!(budget.stats(NOW).in_flight <= 1);
        let others = holds.join().expect("no panic");
        assert!(held.is_some() || others, "one of them finds the place free");
        drop(held);
        assert_eq!(budget.stats(NOW).in_flight, 0);
    });
}
