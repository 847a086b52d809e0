//! What must come back, whatever happens to who holds it.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use intertie_core::clock::Instant;

use super::entry::{Effects, Entry, Grant, Holder, Place, Reason};
use super::event::Event;
use super::manage::{Manage, PoolError};
use super::shared::Shared;
use super::state::State;
use crate::clock::MonotonicClock;

/// What a caller was granted.
pub(super) enum Granted<M: Manage> {
    Resource(Unproven<M>),
    Place(Connecting<M>),
}

impl<M: Manage> Granted<M> {
    pub(super) fn new(shared: &Arc<Shared<M>>, grant: Grant<M::Resource>) -> Self {
        match grant {
            Grant::Resource(entry) => Self::Resource(Unproven::new(shared, entry, Holder::Caller)),
            Grant::Place(place) => Self::Place(Connecting::new(shared, place)),
        }
    }

    /// Makes it what the caller asked for, by checking and connecting.
    pub(super) async fn settle(self) -> Result<Pooled<M>, PoolError<M::Error>> {
        let place = match self {
            Self::Place(place) => place,
            Self::Resource(resource) => match resource.prove().await {
                Ok(pooled) => return Ok(pooled),
                Err(place) => place,
            },
        };
        place.connect().await
    }
}

/// A resource of a pool. It goes back when dropped, or away when it is broken or a panic unwinds through
/// its holder, since nobody knows in which state that left it.
pub struct Pooled<M: Manage> {
    held: Unproven<M>,
}

impl<M: Manage> Pooled<M> {
    /// Keeps the resource for good: the pool may connect another in its place.
    pub fn take(mut self) -> M::Resource {
        let entry = self.held.entry.take().expect("present until the guard ends");
        let (resource, discarded) =
            self.held.shared.update(|state| state.remove(entry, Holder::Caller, Reason::Taken));
        drop(discarded);
        resource
    }

    pub(super) fn id(&self) -> u64 {
        self.held.entry().id
    }
}

impl<M: Manage> Deref for Pooled<M> {
    type Target = M::Resource;

    fn deref(&self) -> &M::Resource {
        &self.held.entry().resource
    }
}

impl<M: Manage> DerefMut for Pooled<M> {
    fn deref_mut(&mut self) -> &mut M::Resource {
        &mut self.held.entry.as_mut().expect("present until the guard ends").resource
    }
}

impl<M: Manage<Resource: fmt::Debug>> fmt::Debug for Pooled<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pooled").field(&**self).finish()
    }
}

impl<M: Manage> Drop for Pooled<M> {
    fn drop(&mut self) {
        let was_taken = self.held.entry.is_none();
        // What is not brought back leaves the pool.
        if !was_taken && !std::thread::panicking() && !self.held.is_broken() {
            self.held.bring_back(State::release);
        }
    }
}

/// A resource of which nobody knows whether it works. Dropped in doubt it leaves the pool.
pub(super) struct Unproven<M: Manage> {
    shared: Arc<Shared<M>>,
    /// Taken when it leaves the guard.
    entry: Option<Entry<M::Resource>>,
    holder: Holder,
}

impl<M: Manage> Unproven<M> {
    pub(super) fn new(shared: &Arc<Shared<M>>, entry: Entry<M::Resource>, holder: Holder) -> Self {
        Self { shared: Arc::clone(shared), entry: Some(entry), holder }
    }

    fn entry(&self) -> &Entry<M::Resource> {
        self.entry.as_ref().expect("present until the guard ends")
    }

    fn is_broken(&self) -> bool {
        self.shared.manager.is_broken(&self.entry().resource)
    }

    /// The resource, if it needs no waiting to see that it may be used.
    pub(super) fn prove_now(self, now: Instant) -> Result<Pooled<M>, Self> {
        if State::needs_check(&self.shared.config, now, self.entry()) || self.is_broken() {
            return Err(self);
        }
        Ok(self.into_pooled())
    }

    /// The resource if it works, else the place that it had.
    async fn prove(mut self) -> Result<Pooled<M>, Connecting<M>> {
        if self.is_broken() {
            return Err(self.exchange(Reason::Broken));
        }
        if State::needs_check(&self.shared.config, MonotonicClock::now(), self.entry()) && !self.check().await
        {
            return Err(self.exchange(Reason::CheckFailed));
        }
        Ok(self.into_pooled())
    }

    /// Whether the resource passes its check. The listener learns of a failure.
    async fn check(&mut self) -> bool {
        let entry = self.entry.as_mut().expect("present until the guard ends");
        let check = self.shared.manager.check(&mut entry.resource);
        match tokio::time::timeout(self.shared.config.check_timeout, check).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                self.shared.tell(Event::CheckFailed(Some(&error)));
                false
            }
            Err(_) => {
                self.shared.tell(Event::CheckFailed(None));
                false
            }
        }
    }

    /// Checks an idle resource for maintenance.
    pub(super) async fn check_and_bring_back(mut self) {
        if self.is_broken() {
            return;
        }
        if self.check().await {
            self.bring_back(State::check_passed);
        } else {
            self.remove(Reason::CheckFailed);
        }
    }

    fn bring_back(
        &mut self,
        how: impl FnOnce(&mut State<M::Resource>, Instant, Entry<M::Resource>) -> Effects<M::Resource>,
    ) {
        let entry = self.entry.take().expect("present until the guard ends");
        self.shared.apply(|state| how(state, MonotonicClock::now(), entry));
    }

    fn remove(&mut self, reason: Reason) {
        let Some(entry) = self.entry.take() else { return };
        let (resource, discarded) = self.shared.update(|state| state.remove(entry, self.holder, reason));
        drop((resource, discarded));
    }

    fn exchange(mut self, reason: Reason) -> Connecting<M> {
        let entry = self.entry.take().expect("present until the guard ends");
        let (resource, place) = self.shared.read(|state| state.exchange(entry, reason));
        let connecting = Connecting::new(&self.shared, place);
        drop(resource);
        connecting
    }

    fn into_pooled(self) -> Pooled<M> {
        Pooled { held: self }
    }
}

impl<M: Manage> Drop for Unproven<M> {
    fn drop(&mut self) {
        self.remove(Reason::Broken);
    }
}

/// The right to connect, which goes to the next caller when it is dropped.
pub(super) struct Connecting<M: Manage> {
    shared: Arc<Shared<M>>,
    /// Taken when it became a resource or failed.
    place: Option<Place>,
}

impl<M: Manage> Connecting<M> {
    pub(super) fn new(shared: &Arc<Shared<M>>, place: Place) -> Self {
        Self { shared: Arc::clone(shared), place: Some(place) }
    }

    pub(super) async fn connect(mut self) -> Result<Pooled<M>, PoolError<M::Error>> {
        if self.shared.read(|state| state.closed) {
            return Err(PoolError::Closed);
        }
        let connect = self.shared.manager.connect();
        let error = match tokio::time::timeout(self.shared.config.connect_timeout, connect).await {
            Ok(Ok(resource)) => {
                let place = self.place.take().expect("present until the guard ends");
                let ((entry, closed), discarded) = self.shared.update(|state| {
                    let (entry, effects) = state.connected(MonotonicClock::now(), place, resource);
                    ((entry, state.closed), effects)
                });
                let pooled = Unproven::new(&self.shared, entry, Holder::Caller).into_pooled();
                drop(discarded);
                return if closed { Err(PoolError::Closed) } else { Ok(pooled) };
            }
            Ok(Err(error)) => PoolError::Connect(error),
            Err(_) => PoolError::ConnectTimeout,
        };
        let place = self.place.take().expect("present until the guard ends");
        self.shared.apply(|state| state.connect_failed(MonotonicClock::now(), place));
        Err(error)
    }
}

impl<M: Manage> Drop for Connecting<M> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.shared.apply(|state| state.leave(place));
        }
    }
}
