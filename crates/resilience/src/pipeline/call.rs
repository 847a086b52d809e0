use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use intertie_core::failure::Class;
use pin_project_lite::pin_project;

use super::Shared;
use super::attempt::End;
use super::context::{Cx, Verdict};
use super::error::CallError;
use super::progress::{Progress, Terms};
use super::steps::{Stage, Steps};
use super::waits::Waits;
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
        waits: Waits<'p, Fut>,
        pipeline: &'p Shared,
        // Set when the call has ended.
        ended: Option<Ended>,
        // None until the call first has to wait: what never waits is never stored. Last, so that a dropped
        // call lets go of the operation before it gives its place to another.
        progress: Option<Progress<'p>>,
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
            waits: Waits::default(),
            pipeline,
            ended: None,
            progress: None,
        }
    }

    /// Whether its operation succeeded in the end.
    pub(super) fn has_succeeded(&self) -> bool {
        self.ended.is_some_and(|ended| ended.succeeded)
    }

    /// Whether the call has ended because no attempt was left, or no budget for it, although another one might have
    /// succeeded: what [`CallError::is_exhausted`] says of an error, for a value that was classed as a failure. Who
    /// answers a caller of its own says so there.
    pub fn is_exhausted(&self) -> bool {
        self.ended.is_some_and(|ended| ended.used_up)
    }

    /// With a key that the pipeline has hashed.
    #[cfg(feature = "tower")]
    pub(crate) fn with_key(mut self, key: Option<u64>) -> Self {
        self.terms.key = key;
        self
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
    pub fn idempotency_key(self, key: impl Into<Arc<str>>) -> Self {
        self.with_idempotency_key(key.into()).idempotent()
    }

    /// The same for a call that can not be made twice for another reason.
    pub(crate) fn with_idempotency_key(mut self, key: Arc<str>) -> Self {
        self.idempotency_key = Some(key);
        self
    }

    /// Whose quota of the rate limiter the call counts against: a key as [`crate::RateLimiter::try_acquire`] takes
    /// it. Calls without a key share one.
    pub fn key(mut self, key: impl Hash) -> Self {
        self.terms.key = self.pipeline.hash(key);
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
            waits: self.waits,
            pipeline: self.pipeline,
            ended: self.ended,
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
        assert!(this.ended.is_none(), "a call was polled again after it had ended");
        // What is begun here ends here if it panics.
        *this.ended = Some(Ended { succeeded: false, used_up: false });
        // Before the steps, which let go of the operation first when they are dropped by a panic.
        let mut begun = None;
        let mut steps = Steps {
            operation: this.operation,
            classify: this.classify,
            terms: this.terms,
            idempotency_key: this.idempotency_key,
            last: this.last,
            stage: this.stage,
            waits: this.waits,
        };
        let (progress, poll) = match this.progress {
            Some(progress) => {
                let poll = steps.go_on(progress, context);
                (progress, poll)
            }
            None => {
                let now = MonotonicClock::now();
                let progress = begun.insert(Progress::new(this.pipeline, now, this.terms));
                let poll = steps.begin(progress, now, context);
                (progress, poll)
            }
        };
        *this.ended = poll.is_ready().then(|| Ended::of(progress));
        drop(steps);
        if poll.is_pending() && begun.is_some() {
            *this.progress = begun;
        }
        poll
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    succeeded: bool,
    used_up: bool,
}

impl Ended {
    #[inline]
    fn of(progress: &Progress<'_>) -> Self {
        Self { succeeded: progress.has_succeeded(), used_up: progress.has_used_up() }
    }
}

impl<F, Fut: Future, C> fmt::Debug for Call<'_, F, Fut, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("progress", &self.progress).finish_non_exhaustive()
    }
}
