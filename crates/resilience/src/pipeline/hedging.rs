use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use tokio::time::Sleep;

use super::attempt::End;
use super::context::{Cx, Verdict};
use super::error::CallError;
use super::progress::Progress;
use super::steps::{Ended, Stage, Steps};
use super::waits::UnderWay;
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
        loop {
            let hedges = self.waits.hedges(|| due(hedge));
            let mut place = 0;
            while let Some(attempt) = hedges.under_way.get_mut(place) {
                // Held here while the operation runs, the permit sees a panic unwind through it.
                let permit = attempt.permit.take();
                let Poll::Ready(outcome) = attempt.operation.as_mut().poll(context) else {
                    attempt.permit = permit;
                    place += 1;
                    continue;
                };
                let started = hedges.under_way.swap_remove(place).started;
                let verdict = (self.classify)(&outcome);
                let ended = Ended { end: End::Outcome(outcome), verdict: Some(verdict), permit };
                let others = !hedges.under_way.is_empty() || !matches!(*self.stage, Stage::Overtaken);
                if verdict.class.is_retriable() && others {
                    progress.lost(MonotonicClock::now(), started, ended.permit, verdict);
                    *self.last = Some(ended.end);
                    continue;
                }
                if verdict.class == Class::Success {
                    hedge.count_won();
                }
                progress.overtaken(started, !matches!(*self.stage, Stage::Overtaken));
                return Poll::Ready(ended);
            }
            let is_due = hedges.next.as_mut().is_some_and(|next| next.as_mut().poll(context).is_ready());
            if !is_due {
                return Poll::Pending;
            }
            hedges.next = None;
            let now = MonotonicClock::now();
            if !hedge.pay(now) {
                return Poll::Pending;
            }
            // Whoever refuses it refuses a second attempt only.
            let Ok(permit) = progress.admit_hedge(now, self.terms) else { return Poll::Pending };
            hedges.begun += 1;
            if hedges.begun < hedge.config().attempts.get() {
                hedges.next = due(hedge);
            }
            let operation = Box::pin(self.attempt(progress));
            let attempt = UnderWay { operation, permit, started: now };
            self.waits.hedges(|| None).under_way.push(attempt);
        }
    }

    /// The first attempt ended. When it failed and others are under way, the call goes on with those.
    #[inline(never)]
    pub(super) fn conclude_unless_others_go_on(
        &mut self,
        progress: &mut Progress<'p>,
        outcome: Fut::Output,
        verdict: Verdict,
        permit: Option<Permit<'p>>,
        now: Instant,
    ) -> Option<Result<T, CallError<E>>> {
        if self.waits.have_hedges() && verdict.class.is_retriable() {
            progress.lost(now, progress.attempt_started(), permit, verdict);
            *self.last = Some(End::Outcome(outcome));
            self.stage.set(Stage::Overtaken);
            return None;
        }
        self.conclude(progress, End::Outcome(outcome), Some(verdict), permit, now)
    }
}

fn due(hedge: &Hedge) -> Option<Pin<Box<Sleep>>> {
    hedge.delay().map(|delay| Box::pin(tokio::time::sleep(delay)))
}
