use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::admission::Waiting;
use super::attempt::{End, HeldUp};
use super::context::{Cx, Verdict};
use super::error::CallError;
use super::progress::{Progress, Terms};
use super::waits::Waits;
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
    pub(super) waits: &'a mut Waits<'p, Fut>,
}

/// An attempt beside the first that ended the call, and what it holds of the circuit breaker.
pub(super) struct Ended<'p, T> {
    pub(super) end: End<T>,
    pub(super) verdict: Verdict,
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
                    let end = End::Outcome(outcome);
                    if let Some(result) =
                        self.conclude_unless_others_go_on(progress, end, verdict, permit, at)
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

    /// The attempt has to wait, or its operation is not to be called yet. Ready with the result when something
    /// else ends the call, and with nothing when there is a next step.
    #[inline(never)]
    fn wait(
        &mut self,
        progress: &mut Progress<'p>,
        permit: Option<Permit<'p>>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<T, CallError<E>>>> {
        let held = match self.stage.as_mut().project() {
            StageProjection::HeldUp { held } => held.poll(context),
            _ => Poll::Pending,
        };
        match held {
            Poll::Pending => {}
            Poll::Ready(None) => {
                let (verdict, now) = (Class::Transient.into(), MonotonicClock::now());
                let end = End::Injected;
                return Poll::Ready(self.conclude_unless_others_go_on(progress, end, verdict, permit, now));
            }
            Poll::Ready(Some(cx)) => {
                let operation = (self.operation)(cx);
                self.stage.set(Stage::Attempting { operation });
                progress.permit = permit;
                return Poll::Ready(None);
            }
        }
        progress.permit = permit;
        if let Poll::Ready(Ended { end, verdict, permit }) = self.poll_hedges(progress, context) {
            // Nobody knows what the overtaken attempt would have shown: its permit goes back untold.
            progress.permit = None;
            return Poll::Ready(self.conclude(progress, end, Some(verdict), permit, MonotonicClock::now()));
        }
        if self.waits.poll_limit(progress.until(), context).is_pending() {
            return Poll::Pending;
        }
        let end = End::TimedOut(progress.limit().by);
        let mut permit = progress.permit.take();
        if matches!(*self.stage, Stage::Overtaken)
            && let Some(oldest) = self.waits.take_oldest()
        {
            progress.overtaken(oldest.started, false);
            permit = oldest.into_permit();
        }
        Poll::Ready(self.conclude(progress, end, None, permit, MonotonicClock::now()))
    }
}

impl<Fut: Future, F, C> Drop for Steps<'_, '_, F, Fut, C> {
    #[inline]
    fn drop(&mut self) {
        // A panic lets go of the operation before what the call holds for it.
        if std::thread::panicking() {
            self.stage.set(Stage::Ready);
        }
    }
}
