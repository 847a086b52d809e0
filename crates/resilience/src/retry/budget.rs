use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::quantity::Ratio;

use crate::striped::StripedWindow;
use crate::window::{Counts, TimeWindow};

/// How far back the budget looks.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// Keeps repetitions to a share of the calls of the last ten seconds, and to a number at the same time,
/// however many callers retry.
///
/// Invariants: within the window, repetitions never exceed `minimum + ratio × calls`; there are never more
/// [`Repetition`]s than `in_flight`. Clones are handles on the same ledger. Calls are entered without a lock, in
/// a stripe of the calling thread; only a repetition, which is rare, takes one. The rule of the window is
/// Finagle's `RetryBudget`. That of the repetitions in flight is a number and no share of the calls in flight, as
/// Envoy's is: a share of few calls is no repetition at all.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    shared: Arc<Ledger>,
}

/// What a budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Repetitions as a share of the calls of the last ten seconds.
    pub ratio: Ratio,
    /// Repetitions that are allowed in ten seconds in any case.
    pub minimum: u32,
    /// Repetitions at the same time, their waits included. Unset: as many as the window allows.
    pub in_flight: Option<NonZeroU32>,
}

/// A repetition that the budget paid for. It counts as in flight until it is dropped.
#[derive(Debug)]
#[must_use = "a repetition that is dropped at once is not in flight"]
pub struct Repetition<'a> {
    budget: &'a RetryBudget,
}

impl Drop for Repetition<'_> {
    fn drop(&mut self) {
        self.budget.lock().in_flight -= 1;
    }
}

#[derive(Debug)]
struct Ledger {
    limits: BudgetLimits,
    calls: StripedWindow,
    repetitions: Mutex<Repetitions>,
}

#[derive(Debug)]
struct Repetitions {
    window: TimeWindow,
    in_flight: u32,
    withdrawn: u64,
    refused: u64,
}

/// What a budget did since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetStats {
    /// Repetitions that it allows now.
    pub remaining: u64,
    /// Repetitions that are under way, or wait for their turn.
    pub in_flight: u32,
    /// Repetitions it paid for.
    pub withdrawn: u64,
    /// Repetitions it could not pay for.
    pub refused: u64,
}

impl RetryBudget {
    /// An empty ledger.
    pub fn new(limits: BudgetLimits) -> Self {
        let window = TimeWindow::new(WINDOW);
        let repetitions = Mutex::new(Repetitions { window, in_flight: 0, withdrawn: 0, refused: 0 });
        Self { shared: Arc::new(Ledger { limits, calls: StripedWindow::new(WINDOW), repetitions }) }
    }

    /// The limits in force.
    pub fn limits(&self) -> BudgetLimits {
        self.shared.limits
    }

    /// Enters a call, which pays for repetitions.
    pub fn deposit(&self, now: Instant) {
        self.shared.calls.add(now, 0, false);
    }

    /// Enters a repetition if the budget allows it. The caller holds it until the repetition ended, from before
    /// the wait for its turn.
    pub fn withdraw(&self, now: Instant) -> Option<Repetition<'_>> {
        let mut repetitions = self.lock();
        if self.remaining(&mut repetitions, now) == 0 {
            repetitions.refused += 1;
            return None;
        }
        repetitions.window.add(now, Counts { all: 1, marked: 0 });
        repetitions.in_flight += 1;
        repetitions.withdrawn += 1;
        Some(Repetition { budget: self })
    }

    /// What the budget did so far.
    pub fn stats(&self, now: Instant) -> BudgetStats {
        let mut repetitions = self.lock();
        let remaining = self.remaining(&mut repetitions, now);
        let Repetitions { in_flight, withdrawn, refused, .. } = *repetitions;
        BudgetStats { remaining, in_flight, withdrawn, refused }
    }

    fn remaining(&self, repetitions: &mut Repetitions, now: Instant) -> u64 {
        let BudgetLimits { ratio, minimum, in_flight } = self.shared.limits;
        let earned = ratio.of(self.shared.calls.total(now, 0).all);
        let in_window = (u64::from(minimum) + earned).saturating_sub(repetitions.window.total(now).all);
        let places = in_flight.map(|most| u64::from(most.get().saturating_sub(repetitions.in_flight)));
        places.map_or(in_window, |places| places.min(in_window))
    }

    fn lock(&self) -> MutexGuard<'_, Repetitions> {
        self.shared.repetitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
