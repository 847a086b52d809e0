//! Every order in which threads can meet at a budget, by loom.

use intertie_core::clock::Instant;
use intertie_core::quantity::Ratio;
use loom::thread;

use super::RetryBudget;
use crate::striped::be_thread;

const NOW: Instant = Instant::from_nanos(5);

/// Runs two threads at the same time: each enters a call and asks for a repetition. How many of the two
/// repetitions `budget` paid for, and in the end its word on that.
fn paid(budget: &RetryBudget) -> u64 {
    let other = budget.clone();
    let asks = thread::spawn(move || {
        be_thread(1);
        other.deposit(NOW);
        u64::from(other.withdraw(NOW))
    });
    be_thread(0);
    budget.deposit(NOW);
    let paid = u64::from(budget.withdraw(NOW)) + asks.join().expect("no panic");
    let stats = budget.stats(NOW);
    assert_eq!((stats.withdrawn, stats.refused), (paid, 2 - paid));
    paid
}

#[test]
fn repetitions_never_exceed_their_share_of_the_calls() {
    loom::model(|| {
        let paid = paid(&RetryBudget::new(Ratio::from_percent(50), 0));
        assert_eq!(paid, 1, "half of two calls: whoever asks last sees both");
    });
}

#[test]
fn repetitions_never_exceed_their_minimum_without_a_share() {
    loom::model(|| assert_eq!(paid(&RetryBudget::new(Ratio::ZERO, 1)), 1));
}
