use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use intertie_core::clock::Instant;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::config::ATTEMPTS_MAX;
use super::layer::{Counter, Shared};
use super::running::Running;
use super::state::{Attempts, Next};
use crate::MonotonicClock;

pin_project! {
    /// A call with its attempts: a future that begins when it is first polled. Dropping it drops them all.
    #[must_use = "a call does nothing unless it is awaited"]
    pub struct Call<'h, F, Fut> {
        operation: F,
        hedge: &'h Shared,
        attempts: Attempts,
        started: Option<Instant>,
        // When the newest attempt began.
        began: Instant,
        #[pin]
        running: Running<Fut>,
        // The next attempt is due; armed when those under way have to wait.
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<'h, F, Fut: Future> Call<'h, F, Fut> {
    pub(super) fn new(hedge: &'h Shared, operation: F) -> Self {
        let attempts = Attempts::new(hedge.attempts());
        let running = Running::new();
        Self { operation, hedge, attempts, started: None, began: Instant::ORIGIN, running, timer: None }
    }
}

impl<F, Fut, T, E> Call<'_, F, Fut>
where
    F: Fn(u32) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    fn begin_attempt(self: Pin<&mut Self>, now: Instant) {
        let mut this = self.project();
        *this.began = now;
        this.timer.set(None);
        let number = this.attempts.begin();
        if number > 1 {
            this.hedge.count(Counter::Hedged);
        }
        this.running.as_mut().begin(number, (this.operation)(number));
    }

    fn succeed(self: Pin<&mut Self>, number: u32, started: Instant, now: impl FnOnce() -> Instant) {
        let mut this = self.project();
        // A first attempt that was overtaken took at least as long as this.
        if this.hedge.measures() && this.running.has_first() {
            let at = now();
            this.hedge.record(at, at.saturating_since(started));
        }
        if number > 1 {
            this.hedge.count(Counter::WonByHedge);
        }
        this.attempts.succeed();
        this.running.set(Running::new());
        this.timer.set(None);
    }

    /// What follows the failure of an attempt, the budget included.
    fn fail(self: Pin<&mut Self>, number: u32, now: impl FnOnce() -> Instant) -> Next {
        let this = self.project();
        this.running.end(number);
        match this.attempts.fail() {
            Next::Begin if !this.hedge.pay(now()) => this.attempts.refuse(),
            next => next,
        }
    }

    /// Waits until another attempt is due and paid for.
    fn poll_due(self: Pin<&mut Self>, context: &mut Context<'_>, now: impl FnOnce() -> Instant) -> Poll<()> {
        let mut this = self.project();
        if !this.attempts.may_begin() {
            return Poll::Pending;
        }
        if this.timer.is_none() {
            let due = this.hedge.delay().map(|delay| MonotonicClock::to_tokio(*this.began + delay));
            this.timer.set(due.map(tokio::time::sleep_until));
        }
        let Some(Poll::Ready(())) = this.timer.as_mut().as_pin_mut().map(|timer| timer.poll(context)) else {
            return Poll::Pending;
        };
        if this.hedge.pay(now()) {
            return Poll::Ready(());
        }
        this.attempts.refuse();
        this.timer.set(None);
        Poll::Pending
    }
}

impl<F, Fut, T, E> Future for Call<'_, F, Fut>
where
    F: Fn(u32) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.attempts.have_ended(), "a call was polled again after it had ended");
        // The clock is read at most once in a poll: a step that did not have to wait ends when it began.
        let mut reading = None;
        let mut now = || *reading.get_or_insert_with(MonotonicClock::now);
        let started = match self.started {
            Some(started) => started,
            None => {
                let started = now();
                self.hedge.begin(started);
                *self.as_mut().project().started = Some(started);
                self.as_mut().begin_attempt(started);
                started
            }
        };
        // A new attempt has a higher number than those before, so that each is polled once.
        let mut number = 1;
        loop {
            if number > ATTEMPTS_MAX {
                match self.as_mut().poll_due(context, &mut now) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => self.as_mut().begin_attempt(now()),
                }
                number = self.attempts.begun();
            }
            match self.as_mut().project().running.poll(number, context) {
                Poll::Pending => {}
                Poll::Ready(Ok(value)) => {
                    self.as_mut().succeed(number, started, now);
                    return Poll::Ready(Ok(value));
                }
                Poll::Ready(Err(error)) => match self.as_mut().fail(number, &mut now) {
                    Next::Begin => self.as_mut().begin_attempt(now()),
                    Next::Wait => {}
                    Next::Fail => {
                        self.hedge.count(Counter::Failed);
                        return Poll::Ready(Err(error));
                    }
                },
            }
            number += 1;
        }
    }
}

impl<F, Fut> fmt::Debug for Call<'_, F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("attempts", &self.attempts).finish_non_exhaustive()
    }
}
