use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::{Class, Evidence};
use intertie_core::quantity::Ratio;
use intertie_core::rejection::{Policy, Rejection};
use tokio::time::Sleep;

use super::Shared;
use super::context::Verdict;
use super::error::{AttemptError, AttemptRecord, CallError, Exhausted};
use super::stats::Counter;
use crate::circuit_breaker::{Outcome, Permit};
use crate::deadline::{AttemptLimit, Deadline, LimitedBy};
use crate::rate_limiter::Count;
use crate::retry::{Repetition, Retry};
use crate::{MonotonicClock, bulkhead};

/// What a call did and holds: the steps between its awaits.
#[derive(Debug)]
pub(super) struct Progress<'p> {
    pipeline: &'p Shared,
    phase: Phase,
    started: Instant,
    deadline: Deadline,
    retry: Option<Retry<'p>>,
    pub(super) attempts: u32,
    /// What the budget paid for, until it ended.
    repetition: Option<Repetition<'p>>,
    attempt_started: Instant,
    pub(super) limit: AttemptLimit,
    /// The class of the last attempt's outcome; `None` when it ran into its limit.
    class: Option<Class>,
    history: Vec<AttemptRecord>,
    place: Option<bulkhead::Permit<'p>>,
    /// When the last attempt ended.
    attempt_ended: Instant,
    pub(super) permit: Option<Permit<'p>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    /// From here on it is counted: as cancelled, unless it ends.
    Begun,
    Ended,
}

/// The wait for a place in the bulkhead, in a box since it is rare and large.
pub(super) type Waiting<'p> =
    Pin<Box<dyn Future<Output = Result<bulkhead::Permit<'p>, Rejection>> + Send + 'p>>;

/// Why no attempt is made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    Deadline,
    Rejected(Rejection),
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl<'p> Progress<'p> {
    pub(super) fn new(pipeline: &'p Shared) -> Self {
        let deadline = Deadline::new(Instant::ORIGIN, None, None);
        Self {
            pipeline,
            phase: Phase::New,
            started: Instant::ORIGIN,
            deadline,
            retry: pipeline.config.retry.as_ref().map(Retry::new),
            attempts: 0,
            repetition: None,
            attempt_started: Instant::ORIGIN,
            limit: deadline.attempt(Instant::ORIGIN, None),
            class: None,
            history: Vec::new(),
            place: None,
            attempt_ended: Instant::ORIGIN,
            permit: None,
        }
    }

    pub(super) fn pipeline(&self) -> &'p Shared {
        self.pipeline
    }

    pub(super) fn has_succeeded(&self) -> bool {
        self.class == Some(Class::Success)
    }

    pub(super) fn has_begun(&self) -> bool {
        self.phase != Phase::New
    }

    /// Asks what is asked once for a call. `Some` when a place must be waited for.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        remaining: Option<Duration>,
        key: Option<u64>,
        cost: u64,
    ) -> Result<Option<Waiting<'p>>, Refusal> {
        let pipeline = self.pipeline;
        self.phase = Phase::Begun;
        self.started = now;
        self.deadline = Deadline::new(now, pipeline.config.deadline, remaining);
        if self.deadline.is_over(now) {
            return Err(Refusal::Deadline);
        }
        self.ask_limiter(Count::Calls, now, key, cost)?;
        if let Some(bulkhead) = &pipeline.bulkhead {
            self.place = bulkhead.pass();
            if self.place.is_none() {
                let remaining = self.deadline.remaining(now);
                return Ok(Some(Box::pin(bulkhead.acquire(remaining))));
            }
        }
        self.pay_in(now);
        Ok(None)
    }

    /// The wait for a place is over.
    pub(super) fn place_granted(
        &mut self,
        granted: Result<bulkhead::Permit<'p>, Rejection>,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.place = Some(granted.map_err(|rejection| match rejection.by {
            Policy::Deadline => Refusal::Deadline,
            _ => Refusal::Rejected(rejection),
        })?);
        self.pay_in(now);
        Ok(())
    }

    fn pay_in(&self, now: Instant) {
        if let Some(budget) = &self.pipeline.budget {
            budget.deposit(now);
        }
    }

    fn ask_limiter(&self, what: Count, now: Instant, key: Option<u64>, cost: u64) -> Result<(), Rejection> {
        match &self.pipeline.rate_limiter {
            Some(limiter) if limiter.config().count == what => {
                // Without a key the quota is everybody's, which is the fastest.
                let taken = match key {
                    Some(key) => limiter.try_acquire(key, now, cost),
                    None => limiter.try_acquire((), now, cost),
                };
                taken.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Asks what is asked before each attempt, and sets the attempt's limit.
    pub(super) fn admit_attempt(
        &mut self,
        now: Instant,
        key: Option<u64>,
        cost: u64,
    ) -> Result<Option<Permit<'p>>, Refusal> {
        let pipeline = self.pipeline;
        if self.deadline.is_over(now) {
            return Err(Refusal::Deadline);
        }
        // The breaker first: an attempt that is not made must not use up a quota that is billed.
        let permit = match &pipeline.circuit_breaker {
            Some(breaker) => Some(breaker.try_admit(now)?),
            None => None,
        };
        self.ask_limiter(Count::Attempts, now, key, cost)?;
        self.attempt_started = now;
        self.limit = self.deadline.attempt(now, pipeline.config.attempt_timeout);
        if self.attempts > 0 {
            pipeline.counters.increment(Counter::Retries);
        }
        Ok(permit)
    }

    /// Fires at the attempt's limit.
    pub(super) fn timer(&self) -> Option<Sleep> {
        self.limit.at.map(|at| tokio::time::sleep_until(MonotonicClock::to_tokio(at)))
    }

    /// An attempt ended, without a verdict when it ran into its limit. The wait before the next one, if
    /// there is one.
    pub(super) fn attempted(
        &mut self,
        now: Instant,
        permit: Option<Permit<'p>>,
        verdict: Option<Verdict>,
        idempotent: bool,
    ) -> Option<Duration> {
        let (class, retry_after, evidence) = match verdict {
            Some(Verdict { class, retry_after, .. }) => (class, retry_after, class.evidence()),
            None => {
                let evidence = if self.limit.judges { Evidence::Failure } else { Evidence::None };
                let class = match self.limit.by {
                    LimitedBy::AttemptTimeout => {
                        self.pipeline.counters.increment(Counter::AttemptTimeouts);
                        Class::Transient
                    }
                    LimitedBy::Deadline => Class::Unjudged,
                };
                (class, None, evidence)
            }
        };
        if let Some(permit) = permit {
            permit.record(now, Outcome { evidence, retry_after, took: None });
        }
        self.repetition = None;
        self.class = verdict.map(|verdict| verdict.class);
        self.attempt_ended = now;
        let exhausted = verdict.is_some_and(|verdict| verdict.exhausted);
        let may_be_repeated = idempotent && class.is_retriable() && !exhausted;
        let retry = self.retry.as_mut().filter(|_| may_be_repeated)?;
        self.history.push(AttemptRecord {
            began_after: self.attempt_started.saturating_since(self.started),
            took: now.saturating_since(self.attempt_started),
            class,
        });
        let random = Ratio::from_millionths(fastrand::u32(0..=1_000_000));
        let wait = retry.next(now, self.deadline, class, retry_after, random).ok()?;
        let breaker = self.pipeline.circuit_breaker.as_ref();
        if breaker.is_some_and(|breaker| !breaker.would_admit(now + wait)) {
            return None;
        }
        if let Some(budget) = &self.pipeline.budget {
            self.repetition = Some(budget.withdraw(now)?);
        }
        Some(wait)
    }

    /// The call ends without an attempt.
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

    /// The call ends as its last attempt did: with an outcome, or at its limit.
    pub(super) fn settle<T, E>(&mut self, outcome: Option<Result<T, E>>) -> Result<T, CallError<E>> {
        let failed = !self.has_succeeded();
        let (last, alone) = match outcome {
            Some(Ok(value)) => {
                // A value that was classed as a failure is still the caller's to read.
                self.end(if failed { Counter::Failed } else { Counter::Succeeded });
                return Ok(value);
            }
            None if self.limit.by == LimitedBy::Deadline => {
                self.end(Counter::DeadlineExceeded);
                return Err(CallError::DeadlineExceeded);
            }
            Some(Err(error)) => (AttemptError::Operation(error), self.attempts == 1),
            None => (AttemptError::Timeout, self.attempts == 1),
        };
        self.end(Counter::Failed);
        Err(match last {
            AttemptError::Operation(error) if alone => CallError::Operation(error),
            AttemptError::Timeout if alone => CallError::AttemptTimeout,
            last => {
                let history = std::mem::take(&mut self.history);
                CallError::Exhausted(Box::new(Exhausted { last, attempts: self.attempts, history }))
            }
        })
    }

    fn end(&mut self, counter: Counter) {
        self.phase = Phase::Ended;
        if let Some(place) = self.place.take().filter(|_| self.attempts > 0) {
            // A limit that was missed counts as a failure if it judges the dependency at all.
            let missed = if self.limit.judges { Class::Transient } else { Class::Unjudged };
            let class = self.class.unwrap_or(missed);
            let latency = self.attempt_ended.saturating_since(self.attempt_started);
            place.record(self.attempt_ended, class, latency);
        }
        self.pipeline.counters.increment(counter);
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.phase == Phase::Begun {
            self.pipeline.counters.increment(Counter::Cancelled);
        }
    }
}
