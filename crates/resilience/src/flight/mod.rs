//! One operation that several callers drive, without a task of its own.
//!
//! The operation rests in a slot. A caller that is polled takes it out, polls it and puts it back; what
//! wakes the operation wakes all its callers, and the first of them to be polled goes on with it. So it
//! depends on no single caller: one that is dropped, and one that is kept but polled no more, hold up
//! nobody. The price is one wake-up of each caller for each step of the operation, measured at 50 ns. A
//! cheaper rule, which wakes only the caller that polled last, lets the others wait for ever when that one
//! is no longer polled.
//!
//! `futures::future::Shared` wakes all its callers too. What it does not do is keep a panic from its callers.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// An operation under way. It goes on while somebody waits for it and is dropped with its last handle.
pub(crate) struct Flight<T> {
    progress: Mutex<Progress<T>>,
    signal: Arc<Signal>,
    /// The signal as the operation sees it. It must not reach the operation itself: whoever calls it last
    /// would otherwise drop the operation, on a thread and under locks that are none of ours.
    waker: Waker,
}

/// An operation without an outcome and without a place in its slot is being polled by some caller.
struct Progress<T> {
    operation: Option<Operation<T>>,
    outcome: Option<Outcome<T>>,
}

type Operation<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub(crate) type Outcome<T> = Result<Arc<T>, Panicked>;

/// The operation panicked. What it said went to the panic hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panicked;

impl<T: Send + Sync + 'static> Flight<T> {
    /// Nothing of `operation` runs before a caller waits for it.
    pub(crate) fn new(operation: impl Future<Output = T> + Send + 'static) -> Arc<Self> {
        let signal = Arc::new(Signal::default());
        let waker = Waker::from(Arc::clone(&signal));
        let progress = Progress { operation: Some(Box::pin(operation)), outcome: None };
        Arc::new(Self { progress: Mutex::new(progress), signal, waker })
    }

    /// Waits for the outcome, and drives the operation to it.
    pub(crate) fn wait(self: Arc<Self>) -> Waiter<T> {
        let number = self.signal.arrive();
        Waiter { flight: self, number }
    }

    fn advance(&self, number: u64) -> Poll<Outcome<T>> {
        let mut operation = {
            let mut progress = self.lock();
            if let Some(outcome) = &progress.outcome {
                return Poll::Ready(outcome.clone());
            }
            let Some(operation) = progress.operation.take_if(|_| self.signal.take_woken()) else {
                return Poll::Pending;
            };
            operation
        };
        let polled = catch_unwind(AssertUnwindSafe(move || {
            match operation.as_mut().poll(&mut Context::from_waker(&self.waker)) {
                Poll::Ready(output) => Ok(output),
                Poll::Pending => Err(operation),
            }
        }));
        let outcome = match polled {
            Ok(Err(operation)) => {
                self.lock().operation = Some(operation);
                // Callers that were woken while it was being polled found the slot empty.
                self.signal.wake_again();
                return Poll::Pending;
            }
            Ok(Ok(output)) => Ok(Arc::new(output)),
            Err(_) => Err(Panicked),
        };
        self.lock().outcome = Some(outcome.clone());
        self.signal.leave(number);
        self.signal.wake_all();
        Poll::Ready(outcome)
    }
}

impl<T> Flight<T> {
    fn lock(&self) -> MutexGuard<'_, Progress<T>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One caller's wait for the outcome. Dropping it changes nothing for the others.
pub(crate) struct Waiter<T> {
    flight: Arc<Flight<T>>,
    number: u64,
}

impl<T: Send + Sync + 'static> Future for Waiter<T> {
    type Output = Outcome<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome<T>> {
        // Before anything is looked at, so that whatever happens from here on wakes this caller.
        self.flight.signal.register(self.number, context.waker());
        self.flight.advance(self.number)
    }
}

impl<T> Drop for Waiter<T> {
    fn drop(&mut self) {
        self.flight.signal.leave(self.number);
    }
}

/// Whom to wake, and whether the operation has something to do.
#[derive(Default)]
struct Signal {
    callers: Mutex<Callers>,
}

struct Callers {
    /// The operation was woken since the last poll, or was never polled.
    woken: bool,
    /// Ordered by arrival, so that the first to come is the first to be woken.
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

impl Default for Callers {
    fn default() -> Self {
        Self { woken: true, wakers: BTreeMap::new(), next: 0 }
    }
}

impl Signal {
    fn arrive(&self) -> u64 {
        let mut callers = self.lock();
        callers.next += 1;
        callers.next
    }

    fn register(&self, number: u64, waker: &Waker) {
        let waker = waker.clone();
        let replaced = self.lock().wakers.insert(number, waker);
        drop(replaced);
    }

    fn leave(&self, number: u64) {
        let removed = self.lock().wakers.remove(&number);
        drop(removed);
    }

    fn take_woken(&self) -> bool {
        mem::take(&mut self.lock().woken)
    }

    fn wake_again(&self) {
        let woken = self.lock().woken;
        if woken {
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        let wakers = mem::take(&mut self.lock().wakers);
        wakers.into_values().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Callers> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.lock().woken = true;
        self.wake_all();
    }
}
