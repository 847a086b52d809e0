use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::attempt::{End, HeldUp, Timer};
use super::context::{Cx, Verdict};
use super::error::CallError;
use super::hedging::Hedges;
use super::progress::{Progress, Terms, Waiting};
use crate::MonotonicClock;
use crate::circuit_breaker::Permit;

pin_project! {
    /// Where a call stands.
    #[project = StageProjection]
    pub(super) enum Stage<'p, Fut> {
        // Nothing is under way; the next step follows in the same poll.
        Ready,
        Queued { waiting: Waiting<'p> },
        // Chaos keeps the attempt from its operation. In a box, as it is rare.
        HeldUp { held: Box<HeldUp> },
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
    pub(super) hedges: &'a mut Hedges<'p, Fut>,
    pub(super) timer: &'a mut Timer,
}

/// An attempt that ended, and what it holds of the circuit breaker.
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
        mut self,
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
        self,
        progress: &mut Progress<'p>,
        context: &mut Context<'_>,
    ) -> Poll<Result<T, CallError<E>>> {
        self.run(progress, None, context)
    }

    /// The clock is read when the call begins, and after each wait; a step that did not have to wait ends
    /// when it began: `now`.
    #[inline(always)]
    fn run(
        mut self,
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
                        let held = Box::new(HeldUp::new(injection, progress.told(self.idempotency_key)));
                        self.stage.set(Stage::HeldUp { held });
                        continue;
                    }
                    let operation = (self.operation)(progress.told(self.idempotency_key));
                    self.stage.set(Stage::Attempting { operation });
                    permit
                }
                _ => progress.permit.take(),
            };
            let polled = match self.stage.as_mut().project() {
                StageProjection::Attempting { operation } => operation.poll(context),
                _ => Poll::Pending,
            };
            let ended = match polled {
                Poll::Ready(outcome) => {
                    let verdict = (self.classify)(&outcome);
                    Ended { end: End::Outcome(outcome), verdict: Some(verdict), permit }
                }
                Poll::Pending => {
                    now = None;
                    match self.wait(progress, permit, context) {
                        Poll::Ready(Some(ended)) => ended,
                        Poll::Ready(None) => continue,
                        Poll::Pending => return Poll::Pending,
                    }
                }
            };
            let at = *now.get_or_insert_with(MonotonicClock::now);
            let ended = match self.hedges.are_begun() {
                false => ended,
                true => match self.unless_others_go_on(progress, ended, at) {
                    Some(ended) => ended,
                    None => continue,
                },
            };
            // The operations' futures end before anything else happens.
            self.stage.set(Stage::Ready);
            *self.timer = Timer::default();
            let Ended { end, verdict, permit } = ended;
            match progress.attempted(at, permit, verdict, self.terms.idempotent) {
                None => return Poll::Ready(progress.settle(end)),
                Some(wait) => {
                    *self.last = Some(end);
                    self.stage.set(Stage::Waiting { backoff: Box::pin(tokio::time::sleep(wait)) });
                }
            }
        }
    }

    /// The attempt has to wait, or its operation is not to be called yet: what else can end it. Nothing when
    /// the operation is called now.
    #[inline(never)]
    fn wait(
        &mut self,
        progress: &mut Progress<'p>,
        permit: Option<Permit<'p>>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Ended<'p, Fut::Output>>> {
        let held = match self.stage.as_mut().project() {
            StageProjection::HeldUp { held } => held.poll(context),
            _ => Poll::Pending,
        };
        match held {
            Poll::Pending => {}
            Poll::Ready(None) => {
                let verdict = Some(Class::Transient.into());
                return Poll::Ready(Some(Ended { end: End::Injected, verdict, permit }));
            }
            Poll::Ready(Some(cx)) => {
                let operation = (self.operation)(cx);
                self.stage.set(Stage::Attempting { operation });
                progress.permit = permit;
                return Poll::Ready(None);
            }
        }
        if let Poll::Ready(ended) = self.poll_hedges(progress, context) {
            // Nobody knows what the overtaken attempt would have shown: its permit goes back untold.
            return Poll::Ready(Some(ended));
        }
        if self.timer.poll(progress.until(), context).is_ready() {
            let end = End::TimedOut(progress.limit().by);
            return Poll::Ready(Some(Ended { end, verdict: None, permit }));
        }
        progress.permit = permit;
        Poll::Pending
    }
}
