use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use tokio::time::Sleep;

use super::attempt::{End, HeldUp};
use super::context::{Cx, Verdict};
use super::progress::Progress;
use super::steps::{Ended, Stage, Steps};
use crate::circuit_breaker::Permit;
use crate::{Hedge, MonotonicClock};

/// The attempts that were begun beside the first, once it had to wait.
pub(super) struct Hedges<'p, Fut>(Option<Box<Begun<'p, Fut>>>);

struct Begun<'p, Fut> {
    /// When the next one is due; none when there will be no more.
    next: Option<Pin<Box<Sleep>>>,
    under_way: Vec<UnderWay<'p, Fut>>,
    so_far: u32,
}

struct UnderWay<'p, Fut> {
    part: Part<Fut>,
    permit: Option<Permit<'p>>,
    started: Instant,
}

enum Part<Fut> {
    HeldUp(HeldUp),
    Operation(Pin<Box<Fut>>),
}

impl<Fut: Future> Part<Fut> {
    /// Ready with the outcome; with nothing when chaos kept the attempt from its operation.
    fn poll(
        &mut self,
        operation: impl Fn(Cx) -> Fut,
        context: &mut Context<'_>,
    ) -> Poll<Option<Fut::Output>> {
        loop {
            match self {
                Self::Operation(operation) => return operation.as_mut().poll(context).map(Some),
                Self::HeldUp(held) => match ready!(held.poll(context)) {
                    Some(cx) => *self = Self::Operation(Box::pin(operation(cx))),
                    None => return Poll::Ready(None),
                },
            }
        }
    }
}

impl<Fut> Default for Hedges<'_, Fut> {
    #[inline]
    fn default() -> Self {
        Self(None)
    }
}

impl<Fut> Hedges<'_, Fut> {
    /// Whether the call may have further attempts under way.
    #[inline]
    pub(super) fn are_begun(&self) -> bool {
        self.0.is_some()
    }
}

impl<'p, F, Fut, C, T, E> Steps<'_, 'p, F, Fut, C>
where
    F: Fn(Cx) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    C: Fn(&Result<T, E>) -> Verdict,
{
    /// Goes on with the further attempts, and begins another one when it is due. Ready with the first that
    /// succeeds, or with the last that fails.
    pub(super) fn poll_hedges(
        &mut self,
        progress: &mut Progress<'p>,
        context: &mut Context<'_>,
    ) -> Poll<Ended<'p, Fut::Output>> {
        let Some(hedge) = progress.hedge(self.terms) else { return Poll::Pending };
        loop {
            let begun = self.hedges.0.get_or_insert_with(|| Box::new(Begun::beside_the_first(hedge)));
            let mut place = 0;
            while let Some(attempt) = begun.under_way.get_mut(place) {
                // Held here while the operation runs, the permit sees a panic unwind through it.
                let permit = attempt.permit.take();
                let Poll::Ready(outcome) = attempt.part.poll(self.operation, context) else {
                    attempt.permit = permit;
                    place += 1;
                    continue;
                };
                let verdict = outcome.as_ref().map_or(Class::Transient.into(), self.classify);
                let started = begun.under_way.swap_remove(place).started;
                let others = !begun.under_way.is_empty() || !matches!(*self.stage, Stage::Overtaken);
                if verdict.class.is_retriable() && others {
                    progress.lost(MonotonicClock::now(), started, permit, verdict);
                    begun.heed(verdict);
                    continue;
                }
                let end = outcome.map_or(End::Injected, End::Outcome);
                let ended = Ended { end, verdict: Some(verdict), permit };
                if verdict.class == Class::Success {
                    hedge.count_won();
                }
                progress.overtaken(started, !matches!(*self.stage, Stage::Overtaken));
                self.hedges.0 = None;
                return Poll::Ready(ended);
            }
            let is_due = begun.next.as_mut().is_some_and(|next| next.as_mut().poll(context).is_ready());
            if !is_due {
                return Poll::Pending;
            }
            begun.next = None;
            let now = MonotonicClock::now();
            if !hedge.pay(now) {
                return Poll::Pending;
            }
            // Whoever refuses it refuses a second attempt only.
            let Ok(permit) = progress.admit_hedge(now, self.terms) else { return Poll::Pending };
            let cx = progress.told(self.idempotency_key);
            hedge.count_hedged();
            begun.so_far += 1;
            if begun.so_far < hedge.config().attempts.get() {
                begun.next = due(hedge);
            }
            let part = match progress.injection() {
                Some(injection) => Part::HeldUp(HeldUp::new(injection, cx)),
                None => Part::Operation(Box::pin((self.operation)(cx))),
            };
            begun.under_way.push(UnderWay { part, permit, started: now });
        }
    }

    /// The end of the first attempt, or of the whole, unless it failed and others go on beside it.
    #[cold]
    pub(super) fn unless_others_go_on(
        &mut self,
        progress: &mut Progress<'p>,
        ended: Ended<'p, Fut::Output>,
        now: Instant,
    ) -> Option<Ended<'p, Fut::Output>> {
        let others = self.hedges.0.as_mut().filter(|begun| !begun.under_way.is_empty());
        match (others, ended.verdict) {
            (Some(others), Some(verdict)) if verdict.class.is_retriable() => {
                progress.lost(now, progress.attempt_started(), ended.permit, verdict);
                others.heed(verdict);
                self.stage.set(Stage::Overtaken);
                None
            }
            _ => {
                self.hedges.0 = None;
                Some(ended)
            }
        }
    }
}

impl<Fut> Begun<'_, Fut> {
    fn beside_the_first(hedge: &Hedge) -> Self {
        Self { next: due(hedge), under_way: Vec::new(), so_far: 1 }
    }

    /// No further attempt begins before the wait that the dependency asked for, or beside the repetitions of a
    /// tier further down.
    fn heed(&mut self, verdict: Verdict) {
        if verdict.retry_after.is_some() || verdict.exhausted {
            self.next = None;
        }
    }
}

fn due(hedge: &Hedge) -> Option<Pin<Box<Sleep>>> {
    hedge.delay().map(|delay| Box::pin(tokio::time::sleep(delay)))
}
