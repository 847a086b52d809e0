use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use intertie_core::quantity::Ratio;

use super::Shared;
use super::context::Verdict;
use super::error::AttemptRecord;
use crate::deadline::Deadline;
use crate::retry::{Repetition, Retry};

/// The failed attempts of a call, and what speaks for another one.
#[derive(Debug)]
pub(super) struct Repetitions<'p> {
    retry: Option<Retry<'p>>,
    history: Vec<AttemptRecord>,
    /// What the budget paid for, until it ended.
    under_way: Option<Repetition<'p>>,
    /// Another attempt was due, and the budget did not pay for it.
    unpaid: bool,
    /// What the attempts asked for that failed while others were under way beside them.
    lost: Lost,
}

#[derive(Debug, Clone, Copy, Default)]
struct Lost {
    not_before: Option<Instant>,
    exhausted: bool,
}

impl<'p> Repetitions<'p> {
    pub(super) fn new(pipeline: &'p Shared) -> Self {
        let retry = pipeline.config.retry.as_ref().map(Retry::new);
        Self { retry, history: Vec::new(), under_way: None, unpaid: false, lost: Lost::default() }
    }

    /// Keeps in mind that an attempt failed that could be repeated.
    pub(super) fn note(&mut self, failed: AttemptRecord) {
        self.history.push(failed);
    }

    /// Keeps in mind what an attempt asked for that failed at `now` while others were under way beside it.
    pub(super) fn heed(&mut self, now: Instant, verdict: Verdict) {
        self.lost.not_before = self.lost.not_before.max(verdict.retry_after.map(|wait| now + wait));
        self.lost.exhausted |= verdict.exhausted;
    }

    /// The repetition under way has ended.
    pub(super) fn end(&mut self) {
        self.under_way = None;
    }

    /// The wait before the next attempt after one that failed at `now`, if there is one and it is paid for.
    pub(super) fn next(
        &mut self,
        pipeline: &'p Shared,
        now: Instant,
        deadline: Deadline,
        class: Class,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        let lost = std::mem::take(&mut self.lost);
        let retry = self.retry.as_mut().filter(|_| !lost.exhausted)?;
        let retry_after = retry_after.max(lost.not_before.map(|at| at.saturating_since(now)));
        let random = Ratio::from_millionths(fastrand::u32(0..=1_000_000));
        let wait = retry.next(now, deadline, class, retry_after, random).ok()?;
        let breaker = pipeline.circuit_breaker.as_ref();
        if breaker.is_some_and(|breaker| !breaker.would_admit(now + wait)) {
            return None;
        }
        if let Some(budget) = &pipeline.budget {
            self.under_way = budget.withdraw(now);
            self.unpaid = self.under_way.is_none();
        }
        (!self.unpaid).then_some(wait)
    }

    /// Whether another attempt was due, and the budget did not pay for it.
    pub(super) fn are_unpaid(&self) -> bool {
        self.unpaid
    }

    pub(super) fn into_history(self) -> Vec<AttemptRecord> {
        self.history
    }
}
