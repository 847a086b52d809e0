use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::attempt::End;
use super::context::{Cx, Verdict};
use super::error::CallError;
use super::progress::{Progress, Terms, Waiting};
use super::waits::Waits;
use crate::MonotonicClock;
use crate::chaos::Injection;
use crate::circuit_breaker::Permit;

pin_project! {
    /// Where a call stands.
    #[project = StageProjection]
    pub(super) enum Stage<'p, Fut> {
        // Nothing is under way; the next step follows in the same poll.
        Ready,
        Queued { waiting: Waiting<'p> },
        // Chaos holds the attempt up, and may then make it fail.
        HeldUp { pause: Pin<Box<Sleep>>, is_fault: bool },
        Attempting { #[pin] operation: Fut },
        // The attempt failed; those that were begun beside it go on.
        Overtaken,
        Waiting { backoff: Pin<Box<Sleep>> },
    }
}

/// The parts of a call, for the way through its stages.
pub(super) struct Steps<'a, 'p, F, Fut: Future, C> {
    pub(super) operation: &'a F,
    pub(super) classify: &'a C,
    pub(super) terms: &'a Terms,
    pub(super) idempotency_key: &'a Option<Arc<str>>,
    /// How the attempt before ended, while another one may follow.
    pub(super) last: &'a mut Option<End<Fut::Output>>,
    pub(super) stage: Pin<&'a mut Stage<'p, Fut>>,
    pub(super) waits: &'a mut Waits<'p, Fut>,
}

/// An attempt that ended, and what it holds of the circuit breaker unless it was the first.
pub(super) struct Ended<'p, T> {
    pub(super) end: End<T>,
    pub(super) verdict: Option<Verdict>,
    pub(super) permit: Option<Permit<'p>>,
}

// What the way of a call that never waits consists of is inlined: its progress then need not be put together in
// memory.
impl<'p, F, Fut, C, T, E> Steps<'_, 'p, F, Fut, C>
where
    F: Fn(Cx) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    C: Fn(&Result<T, E>) -> Verdict,
{
    #[inline(always)]
    pub(super) fn begin(
        &mut self,
        progress: &mut Progress<'p>,
        now: Instant,
        context: &mut Context<'_>,
    ) -> Poll<Result<T, CallError<E>>> {
        match progress.begin(now, self.terms) {
            Ok(None) => self.run(progress, Some(now), context),
            Ok(Some(waiting)) => {
                self.stage.set(Stage::Queued { waiting });
                self.go_on(progress, context)
            }
            Err(refusal) => Poll::Ready(progress.refuse(refusal)),
        }
    }

    #[inline(never)]
    pub(super) fn go_on(
        &mut self,
        progress: &mut Progress<'p>,
        context: &mut Context<'_>,
    ) -> Poll<Result<T, CallError<E>>> {
        self.run(progress, None, context)
    }

    /// The clock is read when the call begins, and after each wait; a step that did not have to wait ends
    /// when it began: `now`.
    #[inline(always)]
    fn run(
        &mut self,
        progress: &mut Progress<'p>,
        mut now: Option<Instant>,
        context: &mut Context<'_>,
    ) -> Poll<Result<T, CallError<E>>> {
        loop {
            // Held here while the operation runs, the permit sees a panic unwind through it.
            let permit = match self.stage.as_mut().project() {
                StageProjection::Queued { waiting } => {
                    let Poll::Ready(granted) = waiting.as_mut().poll(context) else { return Poll::Pending };
                    let at = *now.insert(MonotonicClock::now());
                    self.stage.set(Stage::Ready);
                    if let Err(refusal) = progress.place_granted(granted, at) {
                        return Poll::Ready(progress.refuse(refusal));
                    }
                    continue;
                }
                StageProjection::Waiting { backoff } => {
                    if backoff.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    now = Some(MonotonicClock::now());
                    self.stage.set(Stage::Ready);
                    continue;
                }
                StageProjection::Ready => {
                    let at = *now.get_or_insert_with(MonotonicClock::now);
                    let permit = match progress.admit_attempt(at, self.terms) {
                        Ok(permit) => permit,
                        // A repetition that nobody admits leaves the call with what it had.
                        Err(refusal) => {
                            return Poll::Ready(match self.last.take() {
                                Some(end) => progress.settle(end),
                                None => progress.refuse(refusal),
                            });
                        }
                    };
                    if let Some(injection) = progress.injection() {
                        progress.permit = permit;
                        self.hold_up(injection);
                        continue;
                    }
                    let operation = self.attempt(progress);
                    self.stage.set(Stage::Attempting { operation });
                    permit
                }
                _ => progress.permit.take(),
            };
            let StageProjection::Attempting { operation } = self.stage.as_mut().project() else {
                match self.wait(progress, permit, context) {
                    Poll::Ready(Some(result)) => return Poll::Ready(result),
                    Poll::Ready(None) => continue,
                    Poll::Pending => return Poll::Pending,
                }
            };
            match operation.poll(context) {
                Poll::Ready(outcome) if !self.waits.have_hedges() => {
                    let at = *now.get_or_insert_with(MonotonicClock::now);
                    let verdict = (self.classify)(&outcome);
                    let end = End::Outcome(outcome);
                    if let Some(result) = self.conclude(progress, end, Some(verdict), permit, at) {
                        return Poll::Ready(result);
                    }
                }
                Poll::Ready(outcome) => {
                    let at = *now.insert(MonotonicClock::now());
                    let verdict = (self.classify)(&outcome);
                    if let Some(result) =
                        self.conclude_unless_others_go_on(progress, outcome, verdict, permit, at)
                    {
                        return Poll::Ready(result);
                    }
                }
                Poll::Pending => {
                    now = None;
                    match self.wait(progress, permit, context) {
                        Poll::Ready(Some(result)) => return Poll::Ready(result),
                        Poll::Ready(None) => {}
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
        }
    }

    /// The result of a call that ends with this attempt. Nothing when another one follows.
    #[inline(always)]
    pub(super) fn conclude(
        &mut self,
        progress: &mut Progress<'p>,
        end: End<Fut::Output>,
        verdict: Option<Verdict>,
        permit: Option<Permit<'p>>,
        now: Instant,
    ) -> Option<Result<T, CallError<E>>> {
        // The operations' futures end before anything else happens.
        self.stage.set(Stage::Ready);
        *self.waits = Waits::default();
        match progress.attempted(now, permit, verdict, self.terms.idempotent) {
            None => Some(progress.settle(end)),
            Some(wait) => {
                *self.last = Some(end);
                self.stage.set(Stage::Waiting { backoff: Box::pin(tokio::time::sleep(wait)) });
                None
            }
        }
    }

    /// Makes an attempt that was admitted.
    #[inline(always)]
    pub(super) fn attempt(&self, progress: &Progress<'p>) -> Fut {
        (self.operation)(Cx {
            attempt: progress.attempts,
            until: progress.until(),
            idempotency_key: self.idempotency_key.clone(),
        })
    }

    #[cold]
    fn hold_up(&mut self, Injection { latency, is_fault }: Injection) {
        let pause = Box::pin(tokio::time::sleep(latency.unwrap_or_default()));
        self.stage.set(Stage::HeldUp { pause, is_fault });
    }

    /// The attempt has to wait, or is not to begin yet. Ready with the result when something else ends the call,
    /// and with nothing when there is a next step.
    #[inline(never)]
    fn wait(
        &mut self,
        progress: &mut Progress<'p>,
        permit: Option<Permit<'p>>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<T, CallError<E>>>> {
        let Ended { end, verdict, permit } = match self.what_ends_it(progress, context) {
            // Nobody knows what an overtaken attempt would have shown: its permit goes back untold.
            Poll::Ready(Some(ended)) if ended.permit.is_some() => ended,
            Poll::Ready(Some(ended)) => Ended { permit, ..ended },
            Poll::Ready(None) => {
                progress.permit = permit;
                return Poll::Ready(None);
            }
            Poll::Pending => {
                progress.permit = permit;
                return Poll::Pending;
            }
        };
        Poll::Ready(self.conclude(progress, end, verdict, permit, MonotonicClock::now()))
    }

    /// Something other than the operation ended the attempt, or the operation was held up and now begins.
    fn what_ends_it(
        &mut self,
        progress: &mut Progress<'p>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Ended<'p, Fut::Output>>> {
        if let StageProjection::HeldUp { pause, is_fault } = self.stage.as_mut().project() {
            let is_fault = *is_fault;
            if pause.as_mut().poll(context).is_ready() {
                if is_fault {
                    let verdict = Some(Class::Transient.into());
                    return Poll::Ready(Some(Ended { end: End::Injected, verdict, permit: None }));
                }
                let operation = self.attempt(progress);
                self.stage.set(Stage::Attempting { operation });
                return Poll::Ready(None);
            }
        } else if let Poll::Ready(ended) = self.poll_hedges(progress, context) {
            return Poll::Ready(Some(ended));
        }
        self.waits.poll_limit(progress.until(), context).map(|()| {
            let end = End::TimedOut(progress.limit().by);
            Some(Ended { end, verdict: None, permit: None })
        })
    }
}
