//! An executor for tests: polls one call at a time, in the order that the test says, and knows who was woken.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A call that moves only when it is told to.
pub(crate) struct Call<T> {
    future: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    wakes: Arc<Wakes>,
    seen: usize,
    output: Option<T>,
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl<T> Call<T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        let wakes = Arc::new(Wakes(AtomicUsize::new(1)));
        Self { future: Some(Box::pin(future)), wakes, seen: 0, output: None }
    }

    /// Polls once, woken or not. True when the output is there.
    pub(crate) fn poll(&mut self) -> bool {
        if let Some(future) = &mut self.future {
            self.seen = self.wakes.0.load(Ordering::SeqCst);
            let waker = Waker::from(Arc::clone(&self.wakes));
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                self.output = Some(output);
                self.future = None;
            }
        }
        self.output.is_some()
    }

    /// Whether an executor would poll it: it was woken since its last poll, or was never polled.
    pub(crate) fn is_woken(&self) -> bool {
        self.future.is_some() && self.wakes.0.load(Ordering::SeqCst) > self.seen
    }

    pub(crate) fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::SeqCst)
    }

    /// Drops the future.
    pub(crate) fn cancel(&mut self) {
        self.future = None;
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.future.is_some()
    }

    pub(crate) fn output(&self) -> Option<&T> {
        self.output.as_ref()
    }
}

/// Polls those who were woken until nobody is.
///
/// # Panics
/// When they wake each other without an end.
pub(crate) fn settle<'a, T: 'a>(calls: impl IntoIterator<Item = &'a mut Call<T>>) {
    let mut calls: Vec<_> = calls.into_iter().collect();
    for _ in 0..100_000 {
        let Some(call) = calls.iter_mut().find(|call| call.is_woken()) else { return };
        call.poll();
    }
    panic!("the calls wake each other for ever");
}

/// An operation that needs `steps` wake-ups from the test before it ends.
#[derive(Clone, Default)]
pub(crate) struct Steps(Arc<std::sync::Mutex<StepsState>>);

#[derive(Default)]
struct StepsState {
    left: usize,
    waker: Option<Waker>,
}

impl Steps {
    pub(crate) fn new(left: usize) -> Self {
        Self(Arc::new(std::sync::Mutex::new(StepsState { left, waker: None })))
    }

    /// One step towards the end.
    pub(crate) fn advance(&self) {
        let waker = {
            let mut state = self.0.lock().expect("no panic");
            state.left = state.left.saturating_sub(1);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// All steps that are left.
    pub(crate) fn finish(&self) {
        self.0.lock().expect("no panic").left = 0;
        self.advance();
    }

    pub(crate) async fn ended(&self) {
        std::future::poll_fn(|context| {
            let mut state = self.0.lock().expect("no panic");
            if state.left == 0 {
                return Poll::Ready(());
            }
            // Like a socket: only the waker of the last poll is told.
            state.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
