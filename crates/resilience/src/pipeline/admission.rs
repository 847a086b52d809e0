use std::future::Future;
use std::pin::Pin;

use intertie_core::clock::Instant;
use intertie_core::rejection::{Policy, Rejection};

use super::progress::{Progress, Terms};
use super::stats::Counter;
use crate::circuit_breaker::Permit;
use crate::rate_limiter::Count;
use crate::{RateLimiter, bulkhead};

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
    #[inline]
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// What is asked before a call and before each of its attempts.
impl<'p> Progress<'p> {
    /// Asks what is asked once for a call. `Some` when a place must be waited for.
    #[inline(always)]
    pub(super) fn begin(&mut self, now: Instant, terms: &Terms) -> Result<Option<Waiting<'p>>, Refusal> {
        let pipeline = self.pipeline;
        if self.deadline.is_over(now) {
            return Err(Refusal::Deadline);
        }
        self.ask_limiter(Count::Calls, now, terms)?;
        if let Some(bulkhead) = &pipeline.bulkhead {
            self.place = bulkhead.pass();
            if self.place.is_none() {
                if bulkhead.config().queue == 0 {
                    self.place = Some(bulkhead.try_acquire()?);
                } else {
                    let remaining = self.deadline.remaining(now);
                    return Ok(Some(Box::pin(bulkhead.acquire(remaining))));
                }
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

    #[inline]
    fn pay_in(&self, now: Instant) {
        if let Some(budget) = &self.pipeline.budget {
            budget.deposit(now);
        }
    }

    #[inline(always)]
    fn ask_limiter(&self, what: Count, now: Instant, terms: &Terms) -> Result<(), Rejection> {
        match &self.pipeline.rate_limiter {
            Some(limiter) if self.pipeline.counts == what => take(limiter, now, terms),
            _ => Ok(()),
        }
    }

    /// Asks what is asked before each attempt.
    #[inline(always)]
    pub(super) fn admit_attempt(
        &mut self,
        now: Instant,
        terms: &Terms,
    ) -> Result<Option<Permit<'p>>, Refusal> {
        if self.deadline.is_over(now) {
            return Err(Refusal::Deadline);
        }
        let permit = self.ask_for_attempt(now, terms)?;
        if self.attempts > 0 {
            self.pipeline.counters.increment(Counter::Retries);
        }
        self.attempts += 1;
        self.attempt_started = now;
        if let Some(hedge) = self.hedge(terms) {
            hedge.begin(now);
            self.measured_from = Some(now);
        }
        Ok(permit)
    }

    /// The same for one that begins beside another. It is no repetition.
    pub(super) fn admit_hedge(
        &mut self,
        now: Instant,
        terms: &Terms,
    ) -> Result<Option<Permit<'p>>, Rejection> {
        let permit = self.ask_for_attempt(now, terms)?;
        self.attempts += 1;
        Ok(permit)
    }

    #[inline(always)]
    fn ask_for_attempt(&self, now: Instant, terms: &Terms) -> Result<Option<Permit<'p>>, Rejection> {
        // The breaker first: an attempt that is not made must not use up a quota that is billed.
        let permit = match &self.pipeline.circuit_breaker {
            Some(breaker) => Some(breaker.try_admit(now)?),
            None => None,
        };
        self.ask_limiter(Count::Attempts, now, terms)?;
        Ok(permit)
    }
}

fn take(limiter: &RateLimiter, now: Instant, terms: &Terms) -> Result<(), Rejection> {
    limiter.try_acquire_hashed(terms.key, now, terms.cost).map(drop)
}
