use std::sync::Arc;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::{Class, Evidence};

use super::Shared;
use super::admission::Refusal;
use super::attempt::End;
use super::context::{Cx, Verdict};
use super::error::{AttemptError, AttemptRecord, CallError, Exhausted};
use super::repetitions::Repetitions;
use super::stats::Counter;
use crate::chaos::Injection;
use crate::circuit_breaker::{Outcome, Permit};
use crate::deadline::{AttemptLimit, Deadline, LimitedBy};
use crate::{Hedge, bulkhead};

/// What the caller said about a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) idempotent: bool,
    pub(super) key: Option<u64>,
    pub(super) cost: u64,
    pub(super) remaining: Option<Duration>,
}

/// What a call did and holds: the steps between its awaits.
#[derive(Debug)]
pub(super) struct Progress<'p> {
    pub(super) pipeline: &'p Shared,
    has_ended: bool,
    has_succeeded: bool,
    /// Attempts that failed.
    failures: u32,
    /// The last attempt failed, and another one might have succeeded.
    might_succeed: bool,
    pub(super) attempts: u32,
    started: Instant,
    pub(super) deadline: Deadline,
    pub(super) attempt_started: Instant,
    /// Made when an attempt first may be repeated.
    repetitions: Option<Box<Repetitions<'p>>>,
    pub(super) place: Option<bulkhead::Permit<'p>>,
    pub(super) permit: Option<Permit<'p>>,
    /// When the first of the attempts that are under way together began, while its latency is of use to a hedge.
    pub(super) measured_from: Option<Instant>,
}

impl<'p> Progress<'p> {
    /// A call that begins at `now`. From here on it is counted: as cancelled, unless it ends.
    #[inline(always)]
    pub(super) fn new(pipeline: &'p Shared, now: Instant, terms: &Terms) -> Self {
        let deadline = Deadline::new(now, pipeline.config.deadline, terms.remaining);
        Self {
            pipeline,
            has_ended: false,
            has_succeeded: false,
            failures: 0,
            might_succeed: false,
            attempts: 0,
            started: now,
            deadline,
            attempt_started: now,
            repetitions: None,
            place: None,
            permit: None,
            measured_from: None,
        }
    }

    pub(super) fn has_succeeded(&self) -> bool {
        self.has_succeeded
    }

    /// Whether attempts, or the budget for them, were used up although another one might have succeeded.
    pub(super) fn has_used_up(&self) -> bool {
        let unpaid = self.repetitions.as_ref().is_some_and(|repetitions| repetitions.are_unpaid());
        unpaid || (self.might_succeed && self.attempts > 1)
    }

    /// When the first attempt under way began.
    pub(super) fn attempt_started(&self) -> Instant {
        self.attempt_started
    }

    /// What the attempt that was just admitted is told about itself.
    #[inline(always)]
    pub(super) fn told(&self, idempotency_key: &Option<Arc<str>>) -> Cx {
        Cx { attempt: self.attempts, until: self.until(), idempotency_key: idempotency_key.clone() }
    }

    /// What happens to the attempt that was just admitted, if chaos has a hand in it.
    #[inline]
    pub(super) fn injection(&self) -> Option<Injection> {
        self.pipeline.chaos.as_ref()?.draw()
    }

    /// The hedge, for calls that may be made twice.
    #[inline]
    pub(super) fn hedge(&self, terms: &Terms) -> Option<&'p Hedge> {
        self.pipeline.hedge.as_ref().filter(|_| terms.idempotent)
    }

    /// The limit of the attempt under way.
    pub(super) fn limit(&self) -> AttemptLimit {
        self.deadline.attempt(self.attempt_started, self.pipeline.config.attempt_timeout)
    }

    /// When the attempt under way is given up, if ever.
    #[inline]
    pub(super) fn until(&self) -> Option<Instant> {
        self.deadline.attempt_end(self.attempt_started, self.pipeline.config.attempt_timeout)
    }

    /// One of several attempts that are under way together failed.
    pub(super) fn lost(
        &mut self,
        now: Instant,
        started: Instant,
        permit: Option<Permit<'p>>,
        verdict: Verdict,
    ) {
        let Verdict { class, retry_after, .. } = verdict;
        if let Some(permit) = permit {
            permit.record(now, Outcome { evidence: class.evidence(), retry_after, took: None });
        }
        self.failures += 1;
        self.observe(now, started, class);
        self.note(now, started, class).heed(now, verdict);
    }

    /// An attempt that began at `started` ended the call instead of the first, which was still under way or had
    /// failed before.
    pub(super) fn overtaken(&mut self, started: Instant, first_is_under_way: bool) {
        if !first_is_under_way {
            self.measured_from = None;
        }
        self.attempt_started = started;
    }

    /// An attempt ended at `now`, without a verdict when it ran into its limit. The wait before the next
    /// one, if there is one.
    #[inline(always)]
    pub(super) fn attempted(
        &mut self,
        now: Instant,
        permit: Option<Permit<'p>>,
        verdict: Option<Verdict>,
        idempotent: bool,
    ) -> Option<Duration> {
        let at = self.attempt_started;
        let (class, evidence, retry_after) = match verdict {
            Some(Verdict { class, retry_after, .. }) => (class, class.evidence(), retry_after),
            None => self.timed_out(now),
        };
        if let Some(permit) = permit {
            permit.record(now, Outcome { evidence, retry_after, took: None });
        }
        if let Some(repetitions) = &mut self.repetitions {
            repetitions.end();
        }
        self.has_succeeded = class == Class::Success;
        self.failures += u32::from(!self.has_succeeded);
        if self.pipeline.hedge.is_some() && idempotent {
            self.tell_hedge(now, class);
        }
        // A limit that was missed counts as a failure if it judges the dependency at all.
        let missed = verdict.is_none() && evidence == Evidence::None;
        self.observe(now, at, if missed { Class::Unjudged } else { class });
        let exhausted = verdict.is_some_and(|verdict| verdict.exhausted);
        self.might_succeed = idempotent && class.is_retriable() && !exhausted;
        if self.might_succeed {
            let (pipeline, deadline) = (self.pipeline, self.deadline);
            return self.note(now, at, class).next(pipeline, now, deadline, class, retry_after);
        }
        None
    }

    /// Shows an adaptive bulkhead an attempt.
    #[inline]
    fn observe(&self, now: Instant, started: Instant, class: Class) {
        if self.pipeline.adapts
            && let Some(place) = &self.place
        {
            place.observe(now, class, now.saturating_since(started));
        }
    }

    /// How all attempts together ended.
    #[cold]
    fn tell_hedge(&self, now: Instant, class: Class) {
        let Some(hedge) = &self.pipeline.hedge else { return };
        match (class, self.measured_from) {
            // A first attempt that was overtaken takes at least as long.
            (Class::Success, Some(began)) => hedge.record(now, now.saturating_since(began)),
            _ if class.is_retriable() => hedge.count_failed(),
            _ => {}
        }
    }

    #[cold]
    fn timed_out(&self, now: Instant) -> (Class, Evidence, Option<Duration>) {
        let limit = self.limit();
        let judges = limit.judges_at(self.attempt_started, now);
        let evidence = if judges { Evidence::Failure } else { Evidence::None };
        let class = match limit.by {
            LimitedBy::AttemptTimeout => {
                self.pipeline.counters.increment(Counter::AttemptTimeouts);
                Class::Transient
            }
            LimitedBy::Deadline => Class::Unjudged,
        };
        (class, evidence, None)
    }

    /// Keeps in mind that an attempt failed that could be repeated.
    #[cold]
    fn note(&mut self, now: Instant, attempt_started: Instant, class: Class) -> &mut Repetitions<'p> {
        let pipeline = self.pipeline;
        let repetitions = self.repetitions.get_or_insert_with(|| Box::new(Repetitions::new(pipeline)));
        repetitions.note(AttemptRecord {
            began_after: attempt_started.saturating_since(self.started),
            took: now.saturating_since(attempt_started),
            class,
        });
        repetitions
    }

    /// The call ends without an attempt.
    #[cold]
    pub(super) fn refuse<T, E>(&mut self, refusal: Refusal) -> Result<T, CallError<E>> {
        match refusal {
            Refusal::Deadline => {
                self.end(Counter::DeadlineExceeded);
                Err(CallError::DeadlineExceeded)
            }
            Refusal::Rejected(rejection) => {
                self.end(Counter::Rejected);
                Err(CallError::Rejected(rejection))
            }
        }
    }

    /// The call ends as its last attempt did.
    #[inline(always)]
    pub(super) fn settle<T, E>(&mut self, end: End<Result<T, E>>) -> Result<T, CallError<E>> {
        match end {
            End::Outcome(Ok(value)) => {
                // A value that was classed as a failure is still the caller's to read.
                self.end(if self.has_succeeded { Counter::Succeeded } else { Counter::Failed });
                Ok(value)
            }
            End::Outcome(Err(error)) => Err(self.fail(AttemptError::Operation(error))),
            End::TimedOut(LimitedBy::Deadline) => self.refuse(Refusal::Deadline),
            End::TimedOut(LimitedBy::AttemptTimeout) => Err(self.fail(AttemptError::Timeout)),
            End::Injected => Err(self.fail(AttemptError::Injected)),
        }
    }

    #[cold]
    fn fail<E>(&mut self, last: AttemptError<E>) -> CallError<E> {
        self.end(Counter::Failed);
        let used_up = self.has_used_up();
        let alone = self.failures <= 1 && !used_up;
        match last {
            AttemptError::Operation(error) if alone => CallError::Operation(error),
            AttemptError::Timeout if alone => CallError::AttemptTimeout,
            AttemptError::Injected if alone => CallError::Injected,
            last => {
                let history =
                    self.repetitions.take().map(|repetitions| repetitions.into_history()).unwrap_or_default();
                CallError::Exhausted(Box::new(Exhausted { last, attempts: self.attempts, used_up, history }))
            }
        }
    }

    #[inline(always)]
    fn end(&mut self, counter: Counter) {
        self.has_ended = true;
        self.place = None;
        if let Some(repetitions) = &mut self.repetitions {
            repetitions.end();
        }
        self.pipeline.counters.increment(counter);
    }
}

impl Drop for Progress<'_> {
    #[inline]
    fn drop(&mut self) {
        // While the attempt itself runs, its permit is elsewhere: a panic that comes by here is another's.
        if let Some(permit) = self.permit.take() {
            permit.record(self.attempt_started, Evidence::None);
        }
        if !self.has_ended {
            self.pipeline.counters.increment(Counter::Cancelled);
        }
    }
}
