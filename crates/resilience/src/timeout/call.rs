use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use intertie_core::clock::Instant;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::context::Cx;
use super::error::{TimedOut, TimeoutError};
use super::layer::Shared;
use super::state::{Bounds, Limits};
use super::stats::Counter;
use crate::MonotonicClock;

pin_project! {
    /// An operation under its limit: a future that begins when it is first polled.
    #[must_use = "a call does nothing unless it is awaited"]
    pub struct Call<'t, F, Fut> {
        // Taken when the call begins.
        operation: Option<F>,
        outer: Option<Bounds>,
        progress: Progress<'t>,
        // What is done with the operation before it is dropped at its limit.
        give_up: fn(Pin<&mut Fut>),
        #[pin]
        running: Option<Fut>,
        // Armed when the operation first has to wait.
        #[pin]
        timer: Option<Sleep>,
    }
}

/// Counts a call once, as cancelled unless it ends.
#[derive(Debug)]
struct Progress<'t> {
    shared: &'t Shared,
    /// While the call is under way.
    limits: Option<Limits>,
}

impl<'t, F, Fut> Call<'t, F, Fut> {
    pub(super) fn new(shared: &'t Shared, operation: F, give_up: fn(Pin<&mut Fut>)) -> Self {
        let progress = Progress { shared, limits: None };
        Self { operation: Some(operation), outer: None, progress, give_up, running: None, timer: None }
    }

    /// Inside of an operation that has a limit itself: of both, the earlier holds, and a grace ends with
    /// the outer one's.
    pub fn within(self, outer: &Cx) -> Self {
        self.bounded(outer.limits.inner())
    }

    /// Ends at `at` at the latest, as a caller's own deadline demands.
    pub fn until(self, at: Instant) -> Self {
        self.bounded(Bounds::at(at))
    }

    fn bounded(mut self, bounds: Bounds) -> Self {
        self.outer = Some(self.outer.map_or(bounds, |outer| outer.and(bounds)));
        self
    }

    /// Gives the call another result instead of [`TimeoutError::TimedOut`]. `substitute` is called once the
    /// late operation is gone, and not at all for an operation that ended by itself.
    pub fn on_timeout<H, T, E>(self, substitute: H) -> OnTimeout<Self, H>
    where
        Self: Future<Output = Result<T, TimeoutError<E>>>,
        H: FnOnce(TimedOut) -> Result<T, E>,
    {
        OnTimeout { call: self, substitute: Some(substitute) }
    }
}

impl<F, Fut, T, E> Future for Call<'_, F, Fut>
where
    F: FnOnce(Cx) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Output = Result<T, TimeoutError<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(operation) = this.operation.take() {
            let now = MonotonicClock::now();
            let limits = Limits::new(now, &this.progress.shared.config, *this.outer);
            this.progress.limits = Some(limits);
            if limits.until() <= now {
                return Poll::Ready(Err(this.progress.time_out()));
            }
            this.running.set(Some(operation(Cx { limits })));
        }
        let (Some(mut running), Some(limits)) = (this.running.as_mut().as_pin_mut(), this.progress.limits)
        else {
            panic!("a call was polled again after it had ended, or after its operation panicked");
        };
        if let Poll::Ready(outcome) = running.as_mut().poll(context) {
            this.progress.finish(this.timer.is_some());
            this.running.set(None);
            this.timer.set(None);
            return Poll::Ready(outcome.map_err(TimeoutError::Operation));
        }
        if this.timer.is_none() {
            let at = MonotonicClock::to_tokio(limits.caller_leaves());
            this.timer.set(Some(tokio::time::sleep_until(at)));
        }
        if let Some(timer) = this.timer.as_mut().as_pin_mut() {
            ready!(timer.poll(context));
        }
        (this.give_up)(running);
        this.running.set(None);
        this.timer.set(None);
        Poll::Ready(Err(this.progress.time_out()))
    }
}

impl Progress<'_> {
    fn finish(&mut self, has_waited: bool) {
        // Who is not told, or never had to wait, is not late.
        let told = self.limits.take().and_then(Limits::cancelled).filter(|_| has_waited);
        let is_late = told.is_some_and(|at| MonotonicClock::now() >= at);
        self.shared.counters.increment(if is_late { Counter::FinishedLate } else { Counter::Finished });
    }

    fn time_out<E>(&mut self) -> TimeoutError<E> {
        let limits = self.limits.take().expect("a call that times out has begun");
        self.shared.counters.increment(Counter::TimedOut);
        TimeoutError::TimedOut(TimedOut::new(limits, self.shared.config.limit))
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.limits.is_some() {
            self.shared.counters.increment(Counter::Cancelled);
        }
    }
}

impl<F, Fut> fmt::Debug for Call<'_, F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("progress", &self.progress).finish_non_exhaustive()
    }
}

pin_project! {
    /// A call with a substitute for the result of a late operation.
    #[derive(Debug)]
    #[must_use = "a call does nothing unless it is awaited"]
    pub struct OnTimeout<C, H> {
        #[pin]
        call: C,
        substitute: Option<H>,
    }
}

impl<C, H, T, E> Future for OnTimeout<C, H>
where
    C: Future<Output = Result<T, TimeoutError<E>>>,
    H: FnOnce(TimedOut) -> Result<T, E>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(match ready!(this.call.poll(context)) {
            Ok(value) => Ok(value),
            Err(TimeoutError::Operation(error)) => Err(error),
            Err(TimeoutError::TimedOut(timed_out)) => {
                let substitute = this.substitute.take().expect("a call ends once");
                substitute(timed_out)
            }
        })
    }
}
