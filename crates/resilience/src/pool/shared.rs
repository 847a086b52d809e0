use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

use super::config::PoolConfig;
use super::entry::{Effects, Grant, Ticket};
use super::event::{Event, Listener};
use super::guard::Granted;
use super::manage::{Manage, PoolError};
use super::state::State;
use crate::clock::MonotonicClock;

/// What all handles, guards and waiting callers of a pool share.
pub(super) struct Shared<M: Manage> {
    pub(super) manager: M,
    pub(super) config: PoolConfig,
    pub(super) listener: Option<Listener<M::Error>>,
    inner: Mutex<Inner<M::Resource>>,
    /// Told when maintenance must look again.
    pub(super) maintenance: Notify,
    /// Told when a closed pool has nothing left.
    drained: Notify,
}

struct Inner<R> {
    state: State<R>,
    /// Those in the queue that have been polled, and those that left it and have not noticed yet.
    waiters: HashMap<Ticket, Waiter<R>>,
}

enum Waiter<R> {
    Waiting(Waker),
    Granted(Grant<R>),
    Refused,
}

impl<M: Manage> Shared<M> {
    pub(super) fn new(
        manager: M,
        config: PoolConfig,
        seed: u64,
        listener: Option<Listener<M::Error>>,
    ) -> Self {
        let state = State::new(config.clone(), seed);
        let inner = Mutex::new(Inner { state, waiters: HashMap::new() });
        Self { manager, config, listener, inner, maintenance: Notify::new(), drained: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<M::Resource>> {
        // No code of the user runs under the lock, so nothing panics there.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the state.
    pub(super) fn read<T>(&self, read: impl FnOnce(&mut State<M::Resource>) -> T) -> T {
        read(&mut self.lock().state)
    }

    /// Changes the state and carries out what follows, except dropping what was discarded: a destructor may
    /// panic, so whatever the change handed out must be in a guard before.
    #[must_use = "dropped once what was handed out is guarded"]
    pub(super) fn update<T>(
        &self,
        change: impl FnOnce(&mut State<M::Resource>) -> (T, Effects<M::Resource>),
    ) -> (T, Vec<M::Resource>) {
        let mut inner = self.lock();
        let (value, effects) = change(&mut inner.state);
        let mut wakers = Vec::new();
        let granted = effects.granted.map(|(ticket, grant)| (ticket, Waiter::Granted(grant)));
        let refused = effects.refused.into_iter().map(|ticket| (ticket, Waiter::Refused));
        for (ticket, waiter) in granted.into_iter().chain(refused) {
            if let Some(Waiter::Waiting(waker)) = inner.waiters.insert(ticket, waiter) {
                wakers.push(waker);
            }
        }
        let drained = inner.state.is_drained();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        if effects.wake_maintenance {
            self.maintenance.notify_one();
        }
        if drained {
            self.drained.notify_waiters();
        }
        (value, effects.discarded)
    }

    /// [`Shared::update`] for changes that hand nothing out.
    pub(super) fn apply(&self, change: impl FnOnce(&mut State<M::Resource>) -> Effects<M::Resource>) {
        let ((), discarded) = self.update(|state| ((), change(state)));
        drop(discarded);
    }

    pub(super) fn tell(&self, event: Event<'_, M::Error>) {
        if let Some(listener) = &self.listener {
            listener(event);
        }
    }

    /// Ready when the pool is closed and nothing of it is left.
    pub(super) async fn drained(&self) {
        loop {
            let mut drained = std::pin::pin!(self.drained.notified());
            // From here on it is told, so what happens after the look is not missed.
            drained.as_mut().enable();
            if self.read(|state| state.is_drained()) {
                return;
            }
            drained.await;
        }
    }
}

/// A caller in the queue. Ready when something is granted to it; dropped it leaves the queue, and what was
/// granted meanwhile goes to the next.
pub(super) struct Waiting<M: Manage> {
    shared: Arc<Shared<M>>,
    /// Taken when the wait is over.
    ticket: Option<Ticket>,
}

impl<M: Manage> Waiting<M> {
    pub(super) fn new(shared: &Arc<Shared<M>>, ticket: Ticket) -> Self {
        Self { shared: Arc::clone(shared), ticket: Some(ticket) }
    }
}

impl<M: Manage> Future for Waiting<M> {
    type Output = Result<Granted<M>, PoolError<M::Error>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ticket = self.ticket.expect("not polled again after it was ready");
        let mut inner = self.shared.lock();
        let answer = match inner.waiters.remove(&ticket) {
            Some(Waiter::Granted(grant)) => Ok(grant),
            Some(Waiter::Refused) => Err(PoolError::Closed),
            Some(Waiter::Waiting(_)) | None => {
                inner.waiters.insert(ticket, Waiter::Waiting(context.waker().clone()));
                return Poll::Pending;
            }
        };
        drop(inner);
        self.ticket = None;
        Poll::Ready(answer.map(|grant| Granted::new(&self.shared, grant)))
    }
}

impl<M: Manage> Drop for Waiting<M> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut inner = self.shared.lock();
        let waiter = inner.waiters.remove(&ticket);
        inner.state.abandon(ticket);
        drop(inner);
        if let Some(Waiter::Granted(grant)) = waiter {
            self.shared.apply(|state| state.give_back(MonotonicClock::now(), grant));
        }
    }
}
