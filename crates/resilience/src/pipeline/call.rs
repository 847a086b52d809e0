use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::Shared;
use super::attempt::{End, Timer};
use super::context::{Cx, Verdict};
use super::error::CallError;
use super::progress::{Progress, Terms, Waiting};
use crate::MonotonicClock;

pin_project! {
    /// A call on its way through a pipeline: a future that begins when it is first polled. Dropping it
    /// cancels the operation and gives back every place that it holds.
    #[must_use = "a call does nothing unless it is awaited"]
    pub struct Call<'p, F, Fut: Future, C> {
        operation: F,
        classify: C,
        terms: Terms,
        idempotency_key: Option<Arc<str>>,
        // How the attempt before ended, kept while another one may follow.
        last: Option<End<Fut::Output>>,
        #[pin]
        stage: Stage<'p, Fut>,
        timer: Timer,
        pipeline: &'p Shared,
        // Set when the call has ended.
        succeeded: Option<bool>,
        // None until the call first has to wait: what never waits is never stored. Last, so that a dropped
        // call lets go of the operation before it gives its place to another.
        progress: Option<Progress<'p>>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<'p, Fut> {
        // Nothing is under way; the next step follows in the same poll.
        Ready,
        Queued { waiting: Waiting<'p> },
        Attempting { #[pin] operation: Fut },
        Waiting { backoff: Pin<Box<Sleep>> },
    }
}

impl<'p, F, Fut: Future, C> Call<'p, F, Fut, C> {
    #[inline]
    pub(super) fn new(pipeline: &'p Shared, operation: F, classify: C) -> Self {
        Self {
            operation,
            classify,
            terms: Terms { idempotent: false, key: None, cost: 1, remaining: None },
            idempotency_key: None,
            last: None,
            stage: Stage::Ready,
            timer: Timer::default(),
            pipeline,
            succeeded: None,
            progress: None,
        }
    }

    /// Whether its operation succeeded in the end.
    pub(super) fn has_succeeded(&self) -> bool {
        self.succeeded == Some(true)
    }

    pub(super) fn pipeline(&self) -> &'p Shared {
        self.pipeline
    }

    /// Making the call twice does no harm: failed attempts may be repeated.
    #[inline]
    pub fn idempotent(mut self) -> Self {
        self.terms.idempotent = true;
        self
    }

    /// The receiver recognises a repetition by this key, which attempts find in [`Cx::idempotency_key`]:
    /// failed attempts may be repeated.
    pub fn idempotency_key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.idempotency_key = Some(key.into());
        self.idempotent()
    }

    /// Whose quota of the rate limiter the call counts against. Calls without a key share one.
    pub fn key(mut self, key: impl Hash) -> Self {
        self.terms.key = Some(self.pipeline.hash(key));
        self
    }

    /// How many permits of the rate limiter the call takes, instead of one.
    #[inline]
    pub fn cost(mut self, permits: u64) -> Self {
        self.terms.cost = permits;
        self
    }

    /// What the caller's own deadline leaves. It can only shorten the pipeline's.
    #[inline]
    pub fn remaining(mut self, time: Duration) -> Self {
        self.terms.remaining = Some(time);
        self
    }

    /// Says what outcomes mean, results as well as errors. The default is that each error is transient.
    #[inline]
    pub fn classify<V, K>(self, classify: K) -> Call<'p, F, Fut, impl Fn(&Fut::Output) -> Verdict>
    where
        K: Fn(&Fut::Output) -> V,
        V: Into<Verdict>,
    {
        Call {
            operation: self.operation,
            classify: move |outcome: &Fut::Output| classify(outcome).into(),
            terms: self.terms,
            idempotency_key: self.idempotency_key,
            last: self.last,
            stage: self.stage,
            timer: self.timer,
            pipeline: self.pipeline,
            succeeded: self.succeeded,
            progress: self.progress,
        }
    }
}

/// Without a word from the caller every error may be gone the next time.
#[inline]
pub(super) fn failure_is_transient<T, E>(outcome: &Result<T, E>) -> Verdict {
    match outcome {
        Ok(_) => Class::Success.into(),
        Err(_) => Class::Transient.into(),
    }
}

impl<F, Fut, C, T, E> Future for Call<'_, F, Fut, C>
where
    F: Fn(Cx) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    C: Fn(&Result<T, E>) -> Verdict,
{
    type Output = Result<T, CallError<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        assert!(this.succeeded.is_none(), "a call was polled again after it had ended");
        let steps = Steps {
            operation: this.operation,
            classify: this.classify,
            terms: this.terms,
            idempotency_key: this.idempotency_key,
            last: this.last,
            stage: this.stage,
            timer: this.timer,
        };
        if let Some(progress) = this.progress {
            let poll = steps.go_on(progress, context);
            *this.succeeded = poll.is_ready().then(|| progress.has_succeeded());
            return poll;
        }
        let now = MonotonicClock::now();
        let mut progress = Progress::new(this.pipeline, now, this.terms);
        let poll = steps.begin(&mut progress, now, context);
        match poll {
            Poll::Pending => *this.progress = Some(progress),
            Poll::Ready(_) => *this.succeeded = Some(progress.has_succeeded()),
        }
        poll
    }
}

/// The parts of a call, for the way through its stages.
struct Steps<'a, 'p, F, Fut: Future, C> {
    operation: &'a F,
    classify: &'a C,
    terms: &'a Terms,
    idempotency_key: &'a Option<Arc<str>>,
    last: &'a mut Option<End<Fut::Output>>,
    stage: Pin<&'a mut Stage<'p, Fut>>,
    timer: &'a mut Timer,
}

// Inlined, so that the progress of a call that never waits need not be put together in memory.
impl<'p, F, Fut, C, T, E> Steps<'_, 'p, F, Fut, C>
where
    F: Fn(Cx) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    C: Fn(&Result<T, E>) -> Verdict,
{
    #[inline(always)]
    fn begin(
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
    fn go_on(self, progress: &mut Progress<'p>, context: &mut Context<'_>) -> Poll<Result<T, CallError<E>>> {
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
                StageProjection::Attempting { .. } => progress.permit.take(),
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
                    let operation = (self.operation)(Cx {
                        attempt: progress.attempts,
                        until: progress.until(),
                        idempotency_key: self.idempotency_key.clone(),
                    });
                    self.stage.set(Stage::Attempting { operation });
                    permit
                }
            };
            let StageProjection::Attempting { operation } = self.stage.as_mut().project() else { continue };
            let end = match operation.poll(context) {
                Poll::Ready(outcome) => End::Outcome(outcome),
                Poll::Pending => {
                    now = None;
                    if self.timer.poll(progress.until(), context).is_pending() {
                        progress.permit = permit;
                        return Poll::Pending;
                    }
                    End::TimedOut(progress.limit().by)
                }
            };
            // The operation's future ends before anything else happens.
            self.stage.set(Stage::Ready);
            *self.timer = Timer::default();
            let at = *now.get_or_insert_with(MonotonicClock::now);
            let verdict = match &end {
                End::Outcome(outcome) => Some((self.classify)(outcome)),
                End::TimedOut(_) => None,
            };
            match progress.attempted(at, permit, verdict, self.terms.idempotent) {
                None => return Poll::Ready(progress.settle(end)),
                Some(wait) => {
                    *self.last = Some(end);
                    self.stage.set(Stage::Waiting { backoff: Box::pin(tokio::time::sleep(wait)) });
                }
            }
        }
    }
}

impl<F, Fut: Future, C> fmt::Debug for Call<'_, F, Fut, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("progress", &self.progress).finish_non_exhaustive()
    }
}
