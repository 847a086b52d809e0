use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::quantity::Ratio;

use crate::window::{Counts, TimeWindow};

/// How far back the budget looks.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// The ledger of calls and repetitions: pure core of [`RetryBudget`].
///
/// Invariant: within the window, repetitions never exceed `minimum + ratio × calls`.
#[derive(Debug, Clone)]
pub struct BudgetState {
    ratio: Ratio,
    minimum: u32,
    window: TimeWindow,
}

impl BudgetState {
    /// An empty ledger.
    pub fn new(ratio: Ratio, minimum: u32) -> Self {
        Self { ratio, minimum, window: TimeWindow::new(WINDOW) }
    }

    /// Enters a call, which pays for repetitions.
    pub fn deposit(&mut self, now: Instant) {
        self.window.add(now, Counts { all: 1, marked: 0 });
    }

    /// Enters a repetition if the budget allows it.
    pub fn withdraw(&mut self, now: Instant) -> bool {
        let affordable = self.remaining(now) > 0;
        if affordable {
            self.window.add(now, Counts { all: 0, marked: 1 });
        }
        affordable
    }

    /// How many repetitions the budget allows now.
    pub fn remaining(&mut self, now: Instant) -> u64 {
        let counts = self.window.total(now);
        (u64::from(self.minimum) + self.ratio.of(counts.all)).saturating_sub(counts.marked)
    }
}

/// Keeps repetitions to a share of the calls of the last ten seconds, however many callers retry.
///
/// Clones are handles on the same ledger. The rule is Finagle's `RetryBudget`.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    shared: Arc<Mutex<Ledger>>,
}

#[derive(Debug)]
struct Ledger {
    state: BudgetState,
    withdrawn: u64,
    refused: u64,
}

/// What a budget did since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetStats {
    /// Repetitions that it allows now.
    pub remaining: u64,
    /// Repetitions it paid for.
    pub withdrawn: u64,
    /// Repetitions it could not pay for.
    pub refused: u64,
}

impl RetryBudget {
    /// An empty ledger that allows `ratio` of the calls, and `minimum` in any case.
    pub fn new(ratio: Ratio, minimum: u32) -> Self {
        let ledger = Ledger { state: BudgetState::new(ratio, minimum), withdrawn: 0, refused: 0 };
        Self { shared: Arc::new(Mutex::new(ledger)) }
    }

    /// The share and the minimum in force.
    pub fn settings(&self) -> (Ratio, u32) {
        let ledger = self.lock();
        (ledger.state.ratio, ledger.state.minimum)
    }

    /// Enters a call, which pays for repetitions.
    pub fn deposit(&self, now: Instant) {
        self.lock().state.deposit(now);
    }

    /// Enters a repetition if the budget allows it.
    pub fn withdraw(&self, now: Instant) -> bool {
        let mut ledger = self.lock();
        let affordable = ledger.state.withdraw(now);
        if affordable {
            ledger.withdrawn += 1;
        } else {
            ledger.refused += 1;
        }
        affordable
    }

    /// What the budget did so far.
    pub fn stats(&self, now: Instant) -> BudgetStats {
        let mut ledger = self.lock();
        let remaining = ledger.state.remaining(now);
        BudgetStats { remaining, withdrawn: ledger.withdrawn, refused: ledger.refused }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
