use std::sync::PoisonError;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::quantity::Ratio;

use crate::striped::StripedWindow;
use crate::sync::{Arc, Mutex, MutexGuard};
use crate::window::{Counts, TimeWindow};

/// How far back the budget looks.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// Keeps repetitions to a share of the calls of the last ten seconds, however many callers retry.
///
/// Invariant: within the window, repetitions never exceed `minimum + ratio × calls`. Clones are handles on
/// the same ledger. Calls are entered without a lock, in a stripe of the calling thread; only a repetition,
/// which is rare, takes one. The rule is Finagle's `RetryBudget`.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    shared: Arc<Ledger>,
}

#[derive(Debug)]
struct Ledger {
    ratio: Ratio,
    minimum: u32,
    calls: StripedWindow,
    repetitions: Mutex<Repetitions>,
}

#[derive(Debug)]
struct Repetitions {
    window: TimeWindow,
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
        let repetitions = Repetitions { window: TimeWindow::new(WINDOW), withdrawn: 0, refused: 0 };
        let calls = StripedWindow::new(WINDOW);
        let repetitions = Mutex::new(repetitions);
        Self { shared: Arc::new(Ledger { ratio, minimum, calls, repetitions }) }
    }

    /// The share and the minimum in force.
    pub fn settings(&self) -> (Ratio, u32) {
        (self.shared.ratio, self.shared.minimum)
    }

    /// Enters a call, which pays for repetitions.
    pub fn deposit(&self, now: Instant) {
        self.shared.calls.add(now, 0, false);
    }

    /// Enters a repetition if the budget allows it.
    pub fn withdraw(&self, now: Instant) -> bool {
        let mut repetitions = self.lock();
        let affordable = self.remaining(&mut repetitions, now) > 0;
        if affordable {
            repetitions.window.add(now, Counts { all: 1, marked: 0 });
            repetitions.withdrawn += 1;
        } else {
            repetitions.refused += 1;
        }
        affordable
    }

    /// What the budget did so far.
    pub fn stats(&self, now: Instant) -> BudgetStats {
        let mut repetitions = self.lock();
        let remaining = self.remaining(&mut repetitions, now);
        BudgetStats { remaining, withdrawn: repetitions.withdrawn, refused: repetitions.refused }
    }

    fn remaining(&self, repetitions: &mut Repetitions, now: Instant) -> u64 {
        let ledger = &self.shared;
        let earned = ledger.ratio.of(ledger.calls.total(now, 0).all);
        (u64::from(ledger.minimum) + earned).saturating_sub(repetitions.window.total(now).all)
    }

    fn lock(&self) -> MutexGuard<'_, Repetitions> {
        self.shared.repetitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
