use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use tokio::time::Sleep;

use super::attempt::End;
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
    operation: Pin<Box<Fut>>,
    permit: Option<Permit<'p>>,
    started: Instant,
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
            let begun = self.hedges.0.get_or_insert_with(|| {
                Box::new(Begun { next: due(hedge), under_way: Vec::new(), so_far: 1 })
            });
            let mut place = 0;
            while let Some(attempt) = begun.under_way.get_mut(place) {
                // Held here while the operation runs, the permit sees a panic unwind through it.
                let permit = attempt.permit.take();
                let Poll::Ready(outcome) = attempt.operation.as_mut().poll(context) else {
                    attempt.permit = permit;
                    place += 1;
                    continue;
                };
                let started = begun.under_way.swap_remove(place).started;
                let verdict = (self.classify)(&outcome);
                let ended = Ended { end: End::Outcome(outcome), verdict: Some(verdict), permit };
                let others = !begun.under_way.is_empty() || !matches!(*self.stage, Stage::Overtaken);
                if verdict.class.is_retriable() && others {
                    progress.lost(MonotonicClock::now(), started, ended.permit, verdict);
                    *self.last = Some(ended.end);
                    continue;
                }
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
            begun.so_far += 1;
            if begun.so_far < hedge.config().attempts.get() {
                begun.next = due(hedge);
            }
            let operation = Box::pin(self.attempt(progress));
            if let Some(begun) = &mut self.hedges.0 {
                begun.under_way.push(UnderWay { operation, permit, started: now });
            }
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
        let others = self.hedges.0.as_ref().is_some_and(|begun| !begun.under_way.is_empty());
        match ended.verdict {
            Some(verdict) if others && verdict.class.is_retriable() => {
                progress.lost(now, progress.attempt_started(), ended.permit, verdict);
                *self.last = Some(ended.end);
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

fn due(hedge: &Hedge) -> Option<Pin<Box<Sleep>>> {
    hedge.delay().map(|delay| Box::pin(tokio::time::sleep(delay)))
}
