use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use tokio::time::Sleep;

use super::attempt::{End, HeldUp};
use super::context::{Cx, Verdict};
use super::error::CallError;
use super::progress::Progress;
use super::steps::{Ended, Stage, Steps};
use super::waits::{Part, UnderWay};
use crate::circuit_breaker::Permit;
use crate::{Hedge, MonotonicClock};

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
        let first_is_under_way = !matches!(*self.stage, Stage::Overtaken);
        let hedges = self.waits.hedges(|| due(hedge));
        loop {
            let mut place = 0;
            while let Some(attempt) = hedges.under_way.get_mut(place) {
                // Held here while the operation runs, the permit sees a panic unwind through it.
                let permit = attempt.permit.take();
                let Poll::Ready(outcome) = attempt.part.poll(self.operation, context) else {
                    attempt.permit = permit;
                    place += 1;
                    continue;
                };
                let verdict = outcome.as_ref().map_or(Class::Transient.into(), self.classify);
                let started = hedges.under_way.swap_remove(place).started;
                let others = first_is_under_way || !hedges.under_way.is_empty();
                if verdict.class.is_retriable() && others {
                    progress.lost(MonotonicClock::now(), started, permit, verdict);
                    hedges.heed(verdict);
                    continue;
                }
                if verdict.class == Class::Success {
                    hedge.count_won();
                }
                progress.overtaken(started, first_is_under_way);
                let end = outcome.map_or(End::Injected, End::Outcome);
                return Poll::Ready(Ended { end, verdict, permit });
            }
            let is_due = hedges.next.as_mut().is_some_and(|next| next.as_mut().poll(context).is_ready());
            if !is_due {
                return Poll::Pending;
            }
            hedges.next = None;
            let now = MonotonicClock::now();
            // What is refused is not paid for, and whoever refuses it refuses a second attempt only.
            if !hedge.can_pay(now) {
                return Poll::Pending;
            }
            let Ok(permit) = progress.admit_hedge(now, self.terms) else { return Poll::Pending };
            hedge.pay(now);
            let cx = progress.told(self.idempotency_key);
            hedge.count_hedged();
            hedges.begun += 1;
            if hedges.begun < hedge.config().attempts.get() {
                hedges.next = due(hedge);
            }
            let part = match progress.injection() {
                Some(injection) => Part::HeldUp(HeldUp::new(injection, cx)),
                None => Part::Operation(Box::pin((self.operation)(cx))),
            };
            hedges.under_way.push(UnderWay { part, permit, started: now });
        }
    }

    /// The first attempt ended. When it failed and others are under way, the call goes on with those.
    #[inline(never)]
    pub(super) fn conclude_unless_others_go_on(
        &mut self,
        progress: &mut Progress<'p>,
        end: End<Fut::Output>,
        verdict: Verdict,
        permit: Option<Permit<'p>>,
        now: Instant,
    ) -> Option<Result<T, CallError<E>>> {
        if self.waits.have_hedges() && verdict.class.is_retriable() {
            progress.lost(now, progress.attempt_started(), permit, verdict);
            self.waits.hedges(|| None).heed(verdict);
            self.stage.set(Stage::Overtaken);
            return None;
        }
        self.conclude(progress, end, Some(verdict), permit, now)
    }
}

fn due(hedge: &Hedge) -> Option<Pin<Box<Sleep>>> {
    hedge.delay().map(|delay| Box::pin(tokio::time::sleep(delay)))
}
