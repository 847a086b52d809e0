use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::rejection::{Policy, Rejection};
use tokio::time::timeout_at;

use super::error::BatchError;
use super::sending::{Function, Results, Running, send};
use super::state::{Departure, State, Ticket};
use super::stats::Stats;
use crate::clock::MonotonicClock;
use crate::flight::Flight;

/// What the handles of a batcher, its callers and its batches share.
pub(super) struct Shared<I, O, E> {
    pub(super) function: Function<I, O, E>,
    inner: Mutex<Inner<I, O, E>>,
}

pub(super) struct Inner<I, O, E> {
    pub(super) state: State,
    pub(super) stats: Stats,
    /// One for each caller whose item was not yet sent, or who has not noticed yet that it was.
    seats: HashMap<Ticket, Seat<I, O, E>>,
}

enum Seat<I, O, E> {
    Waiting { item: I, waker: Option<Waker> },
    Decided(Result<Sent<O, E>, Rejection>),
}

/// Where the result of a sent item will be.
pub(super) struct Sent<O, E> {
    flight: Arc<Flight<()>>,
    results: Arc<Results<O, E>>,
    position: usize,
}

impl<O: Send + 'static, E: Send + 'static> Sent<O, E> {
    pub(super) async fn result(self) -> Result<O, BatchError<E>> {
        let landed = self.flight.wait().await;
        // A bisected batch that panics may have results for a part of its items.
        self.results.take(self.position).unwrap_or_else(|| {
            debug_assert!(landed.is_err(), "a batch that ends has a result for each item");
            Err(BatchError::Panicked)
        })
    }
}

/// What is done after the lock is released, because it runs other people's code.
#[must_use = "callers would not be woken"]
struct Aftermath<I> {
    wakers: Vec<Waker>,
    expired: Vec<I>,
}

impl<I> Aftermath<I> {
    fn finish(self) {
        self.wakers.into_iter().for_each(Waker::wake);
        drop(self.expired);
    }
}

impl<I, O, E> Shared<I, O, E> {
    pub(super) fn new(function: Function<I, O, E>) -> Self {
        let state = State::new(&function.config);
        let inner = Inner { state, stats: Stats::default(), seats: HashMap::new() };
        Self { function, inner: Mutex::new(inner) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner<I, O, E>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I, O, E> Shared<I, O, E>
where
    I: Clone + Send + 'static,
    O: Send + 'static,
    E: Clone + Send + 'static,
{
    /// Does what follows from an event: drops items that waited too long and sends batches.
    fn advance(self: &Arc<Self>, now: Instant, event: impl FnOnce(&mut State)) {
        let mut inner = self.lock();
        event(&mut inner.state);
        let aftermath = self.follow_up(&mut inner, now);
        drop(inner);
        aftermath.finish();
    }

    fn follow_up(self: &Arc<Self>, inner: &mut Inner<I, O, E>, now: Instant) -> Aftermath<I> {
        let mut aftermath = Aftermath { wakers: Vec::new(), expired: Vec::new() };
        for ticket in inner.state.expire(now) {
            inner.stats.timed_out += 1;
            // Its caller needs no wake-up: it has a timer for this very moment.
            if let Some(Seat::Waiting { item, .. }) = inner.seats.remove(&ticket) {
                inner.seats.insert(ticket, Seat::Decided(Err(rejection("wait"))));
                aftermath.expired.push(item);
            }
        }
        while let Some(departure) = inner.state.depart(now) {
            self.send(inner, &departure, &mut aftermath.wakers);
        }
        aftermath
    }

    fn send(self: &Arc<Self>, inner: &mut Inner<I, O, E>, departure: &Departure, wakers: &mut Vec<Waker>) {
        inner.stats.count(departure);
        let mut items = Vec::with_capacity(departure.tickets.len());
        for ticket in &departure.tickets {
            if let Some(Seat::Waiting { item, waker }) = inner.seats.remove(ticket) {
                items.push(item);
                wakers.extend(waker);
            }
        }
        debug_assert_eq!(items.len(), departure.tickets.len(), "who waits in the queue has a seat");
        let results = Arc::new(Results::new(items.len()));
        let running = Running { shared: Arc::clone(self) };
        let flight = Flight::new(send(running, items, Arc::clone(&results)));
        for (position, ticket) in departure.tickets.iter().enumerate() {
            let sent = Sent { flight: Arc::clone(&flight), results: Arc::clone(&results), position };
            inner.seats.insert(*ticket, Seat::Decided(Ok(sent)));
        }
    }

    /// A batch ended, however.
    pub(super) fn end(self: &Arc<Self>) {
        self.advance(MonotonicClock::now(), State::end);
    }
}

/// A caller until it knows that its item was sent.
pub(super) struct Caller<'a, I, O, E> {
    shared: &'a Arc<Shared<I, O, E>>,
    ticket: Ticket,
    arrived: Instant,
    expires: Instant,
}

impl<'a, I, O, E> Caller<'a, I, O, E>
where
    I: Clone + Send + 'static,
    O: Send + 'static,
    E: Clone + Send + 'static,
{
    pub(super) fn arrive(
        shared: &'a Arc<Shared<I, O, E>>,
        item: I,
        remaining: Duration,
    ) -> Result<Self, Rejection> {
        let arrived = MonotonicClock::now();
        let wait = shared.function.config.wait.min(remaining);
        let mut inner = shared.lock();
        let Some(ticket) = inner.state.arrive(arrived, wait) else {
            inner.stats.rejected += 1;
            return Err(rejection("queue"));
        };
        inner.seats.insert(ticket, Seat::Waiting { item, waker: None });
        let caller = Self { shared, ticket, arrived, expires: arrived + wait };
        let aftermath = shared.follow_up(&mut inner, arrived);
        drop(inner);
        aftermath.finish();
        Ok(caller)
    }

    /// Waits until the item is sent, at most until it expires.
    pub(super) async fn sent(self) -> Result<Sent<O, E>, Rejection> {
        if let Some(decided) = self.decided() {
            return decided;
        }
        let window = self.shared.function.config.window;
        // Each caller watches the window by itself, so that none depends on the first of them being polled.
        let window_over = (!window.is_zero()).then(|| self.expires.min(self.arrived + window));
        for at in window_over.into_iter().chain([self.expires]) {
            let decided = poll_fn(|context| self.poll_decided(context));
            if let Ok(decided) = timeout_at(MonotonicClock::to_tokio(at), decided).await {
                return decided;
            }
            self.shared.advance(MonotonicClock::now(), |_| {});
        }
        self.decided().unwrap_or_else(|| {
            self.shared.lock().stats.timed_out += 1;
            Err(rejection("wait"))
        })
    }

    fn decided(&self) -> Option<Result<Sent<O, E>, Rejection>> {
        let mut inner = self.shared.lock();
        inner.decided(self.ticket)
    }

    fn poll_decided(&self, context: &Context<'_>) -> Poll<Result<Sent<O, E>, Rejection>> {
        let mut inner = self.shared.lock();
        if let Some(decided) = inner.decided(self.ticket) {
            return Poll::Ready(decided);
        }
        if let Some(Seat::Waiting { waker, .. }) = inner.seats.get_mut(&self.ticket) {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl<I, O, E> Inner<I, O, E> {
    fn decided(&mut self, ticket: Ticket) -> Option<Result<Sent<O, E>, Rejection>> {
        if !matches!(self.seats.get(&ticket), Some(Seat::Decided(_))) {
            return None;
        }
        match self.seats.remove(&ticket) {
            Some(Seat::Decided(decided)) => Some(decided),
            _ => None,
        }
    }
}

impl<I, O, E> Drop for Caller<'_, I, O, E> {
    fn drop(&mut self) {
        let seat = {
            let mut inner = self.shared.lock();
            inner.state.withdraw(self.ticket);
            inner.seats.remove(&self.ticket)
        };
        // The item, or the last handle of its batch: the user's code, which may call this batcher again.
        drop(seat);
    }
}

fn rejection(bound: &'static str) -> Rejection {
    // Nobody knows when a batch ends.
    Rejection { by: Policy::Batch, bound, retry_after: None }
}
