use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use intertie_core::failure::Class;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::Shared;
use super::context::{Cx, Verdict};
use super::error::CallError;
use super::progress::{Progress, Waiting};
use crate::MonotonicClock;

pin_project! {
    /// A call on its way through a pipeline: a future that begins when it is first polled. Dropping it
    /// cancels the operation and gives back every place that it holds.
    #[must_use = "a call does nothing unless it is awaited"]
    pub struct Call<'p, F, Fut: Future, C> {
        operation: F,
        classify: C,
        idempotent: bool,
        idempotency_key: Option<Arc<str>>,
        key: Option<u64>,
        cost: u64,
        remaining: Option<Duration>,
        // The outcome of the attempt before, kept while another one may follow.
        last: Option<Fut::Output>,
        #[pin]
        stage: Stage<'p, Fut>,
        // The limit of the attempt under way; armed when the attempt first has to wait. In a box, as all that
        // only a call needs that waits: what it holds from the start is moved with it.
        timer: Option<Pin<Box<Sleep>>>,
        // Last, so that a dropped call lets go of the operation before it gives its place to another.
        progress: Progress<'p>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<'p, Fut> {
        // Nothing is under way; the next step follows in the same poll.
        Ready,
        Queued { waiting: Waiting<'p> },
        Attempting { #[pin] attempt: Fut },
        Waiting { backoff: Pin<Box<Sleep>> },
    }
}

/// Says what an outcome means.
pub type Classify<T, E> = fn(&Result<T, E>) -> Verdict;

impl<'p, F, Fut, T, E> Call<'p, F, Fut, Classify<T, E>>
where
    F: Fn(Cx) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    pub(super) fn new(pipeline: &'p Shared, operation: F) -> Self {
        Self {
            operation,
            classify: failure_is_transient,
            idempotent: false,
            idempotency_key: None,
            key: None,
            cost: 1,
            remaining: None,
            progress: Progress::new(pipeline),
            last: None,
            stage: Stage::Ready,
            timer: None,
        }
    }
}

/// Without a word from the caller every error may be gone the next time.
fn failure_is_transient<T, E>(outcome: &Result<T, E>) -> Verdict {
    match outcome {
        Ok(_) => Class::Success.into(),
        Err(_) => Class::Transient.into(),
    }
}

impl<'p, F, Fut: Future, C> Call<'p, F, Fut, C> {
    /// Whether its operation succeeded in the end.
    pub(super) fn has_succeeded(&self) -> bool {
        self.progress.has_succeeded()
    }

    pub(super) fn pipeline(&self) -> &'p Shared {
        self.progress.pipeline()
    }

    /// Making the call twice does no harm: failed attempts may be repeated.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
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
        self.key = Some(self.progress.pipeline().hash(key));
        self
    }

    /// How many permits of the rate limiter the call takes, instead of one.
    pub fn cost(mut self, permits: u64) -> Self {
        self.cost = permits;
        self
    }

    /// What the caller's own deadline leaves. It can only shorten the pipeline's.
    pub fn remaining(mut self, time: Duration) -> Self {
        self.remaining = Some(time);
        self
    }

    /// Says what outcomes mean, results as well as errors. The default is that each error is transient.
    pub fn classify<V, K>(self, classify: K) -> Call<'p, F, Fut, impl Fn(&Fut::Output) -> Verdict>
    where
        K: Fn(&Fut::Output) -> V,
        V: Into<Verdict>,
    {
        Call {
            operation: self.operation,
            classify: move |outcome: &Fut::Output| classify(outcome).into(),
            idempotent: self.idempotent,
            idempotency_key: self.idempotency_key,
            key: self.key,
            cost: self.cost,
            remaining: self.remaining,
            progress: self.progress,
            last: self.last,
            stage: self.stage,
            timer: self.timer,
        }
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
        let mut this = self.project();
        let progress = this.progress;
        // The clock is read when the call begins and after each wait; a step that did not have to wait
        // ends when it began.
        let mut now = None;
        if !progress.has_begun() {
            let begun = MonotonicClock::now();
            now = Some(begun);
            match progress.begin(begun, *this.remaining, *this.key, *this.cost) {
                Ok(None) => {}
                Ok(Some(waiting)) => this.stage.set(Stage::Queued { waiting }),
                Err(refusal) => return Poll::Ready(progress.refuse(refusal)),
            }
        }
        loop {
            match this.stage.as_mut().project() {
                StageProjection::Queued { waiting } => {
                    let Poll::Ready(granted) = waiting.as_mut().poll(context) else { return Poll::Pending };
                    let at = *now.insert(MonotonicClock::now());
                    this.stage.set(Stage::Ready);
                    if let Err(refusal) = progress.place_granted(granted, at) {
                        return Poll::Ready(progress.refuse(refusal));
                    }
                }
                StageProjection::Waiting { backoff } => {
                    if backoff.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    now = Some(MonotonicClock::now());
                    this.stage.set(Stage::Ready);
                }
                StageProjection::Ready => {
                    let at = *now.get_or_insert_with(MonotonicClock::now);
                    let permit = match progress.admit_attempt(at, *this.key, *this.cost) {
                        Ok(permit) => permit,
                        // A repetition that nobody admits leaves the call with what it had.
                        Err(_) if progress.attempts > 0 => {
                            return Poll::Ready(progress.settle(this.last.take()));
                        }
                        Err(refusal) => return Poll::Ready(progress.refuse(refusal)),
                    };
                    progress.attempts += 1;
                    let attempt = (this.operation)(Cx {
                        attempt: progress.attempts,
                        until: progress.limit.at,
                        idempotency_key: this.idempotency_key.clone(),
                    });
                    progress.permit = permit;
                    this.stage.set(Stage::Attempting { attempt });
                }
                StageProjection::Attempting { attempt } => {
                    // Held here while the operation runs, the permit sees a panic unwind through it.
                    let permit = progress.permit.take();
                    let outcome = match attempt.poll(context) {
                        Poll::Ready(outcome) => Some(outcome),
                        Poll::Pending => {
                            now = None;
                            if this.timer.is_none() {
                                *this.timer = progress.timer().map(Box::pin);
                            }
                            match this.timer.as_mut().map(|timer| timer.as_mut().poll(context)) {
                                Some(Poll::Ready(())) => None,
                                _ => {
                                    progress.permit = permit;
                                    return Poll::Pending;
                                }
                            }
                        }
                    };
                    // The operation's future ends before anything else happens.
                    this.stage.set(Stage::Ready);
                    *this.timer = None;
                    let at = *now.get_or_insert_with(MonotonicClock::now);
                    let verdict = outcome.as_ref().map(|outcome| (this.classify)(outcome));
                    match progress.attempted(at, permit, verdict, *this.idempotent) {
                        None => return Poll::Ready(progress.settle(outcome)),
                        Some(wait) => {
                            *this.last = outcome;
                            this.stage.set(Stage::Waiting { backoff: Box::pin(tokio::time::sleep(wait)) });
                        }
                    }
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
