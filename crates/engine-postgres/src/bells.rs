//! Who waits for messages at this node, and whom to tell.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use intertie_messaging::Name;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Consumers that wait, by queue.
#[derive(Debug, Clone)]
pub(crate) struct Bells {
    shared: Arc<Mutex<Shared>>,
    most: usize,
}

#[derive(Debug, Default)]
struct Shared {
    queues: BTreeMap<Name, Queue>,
    /// How many wait in all.
    count: usize,
}

#[derive(Debug)]
struct Queue {
    bell: Arc<Notify>,
    waiting: u32,
    /// Until when other nodes know that somebody waits here.
    known_until: Option<Instant>,
}

impl Bells {
    /// Room for so many.
    pub(crate) fn new(most: usize) -> Self {
        Self { shared: Arc::default(), most }
    }

    /// How many may wait.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Has one of those look who wait for messages of `queue`. Who finds something has the next one look.
    pub(crate) fn ring(&self, queue: &Name) {
        if let Some(queue) = self.lock().queues.get(queue) {
            queue.bell.notify_one();
        }
    }

    /// Has one of those look who wait for messages of each queue.
    pub(crate) fn ring_each(&self) {
        self.lock().queues.values().for_each(|queue| queue.bell.notify_one());
    }

    /// Has all of those look who wait for messages of `queue`: it may be gone.
    pub(crate) fn ring_all(&self, queue: &Name) {
        if let Some(queue) = self.lock().queues.get(queue) {
            queue.bell.notify_waiters();
            queue.bell.notify_one();
        }
    }

    /// Waits until the place is dropped, if there is room for one more.
    pub(crate) fn begin(&self, queue: &Name) -> Option<Place> {
        let mut shared = self.lock();
        if shared.count >= self.most {
            return None;
        }
        shared.count += 1;
        let new = || Queue { bell: Arc::default(), waiting: 0, known_until: None };
        let own = shared.queues.entry(queue.clone()).or_insert_with(new);
        own.waiting += 1;
        Some(Place { bells: self.clone(), queue: queue.clone(), bell: Arc::clone(&own.bell) })
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One consumer that waits.
#[derive(Debug)]
pub(crate) struct Place {
    bells: Bells,
    queue: Name,
    bell: Arc<Notify>,
}

impl Place {
    /// What rings when there may be something.
    pub(crate) fn bell(&self) -> &Notify {
        &self.bell
    }

    /// Whether other nodes have to be told that somebody waits here, since nobody told them so that they know it at
    /// `until_at_least`.
    pub(crate) fn is_unknown(&self, until_at_least: Instant) -> bool {
        let shared = self.bells.lock();
        let known = shared.queues.get(&self.queue).and_then(|queue| queue.known_until);
        known.is_none_or(|known| known < until_at_least)
    }

    /// They were told.
    pub(crate) fn make_known(&self, until: Instant) {
        if let Some(queue) = self.bells.lock().queues.get_mut(&self.queue) {
            queue.known_until = Some(until);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shared = self.bells.lock();
        shared.count -= 1;
        let Some(own) = shared.queues.get_mut(&self.queue) else { return };
        own.waiting -= 1;
        if own.waiting == 0 {
            shared.queues.remove(&self.queue);
        } else {
            // It may have been told and have asked for nothing since.
            own.bell.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Waker};

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    /// How many of `places` hear something when `ring` rings.
    fn heard(places: &[Place], ring: impl FnOnce()) -> usize {
        let mut bells: Vec<_> = places.iter().map(|place| Box::pin(place.bell().notified())).collect();
        for bell in &mut bells {
            bell.as_mut().enable();
        }
        ring();
        let mut context = Context::from_waker(Waker::noop());
        bells
            .iter_mut()
            .map(|bell| bell.as_mut().poll(&mut context))
            .filter(std::task::Poll::is_ready)
            .count()
    }

    #[test]
    fn one_is_told_of_the_queue_that_it_waits_for() {
        let bells = Bells::new(10);
        let begin = |queue| bells.begin(&name(queue)).expect("room");
        let orders = [begin("orders"), begin("orders"), begin("orders")];
        let others = [begin("others")];
        assert_eq!(heard(&others, || bells.ring(&name("orders"))), 0);
        // What nobody heard a moment ago is still to be heard.
        assert_eq!(heard(&orders, || {}), 1);
        assert_eq!(heard(&orders, || bells.ring(&name("orders"))), 1);
        assert_eq!(heard(&orders, || bells.ring_all(&name("orders"))), 3);
        assert_eq!(heard(&others, || bells.ring_each()), 1);
    }

    #[test]
    fn who_leaves_gives_on_what_it_may_have_been_told() {
        let bells = Bells::new(2);
        let begin = || bells.begin(&name("orders"));
        let (first, second) = (begin().expect("room"), [begin().expect("room")]);
        assert!(begin().is_none(), "there is room for two");
        drop(first);
        assert_eq!(heard(&second, || {}), 1);
        drop(second);
        assert!(bells.lock().queues.is_empty() && bells.lock().count == 0);
    }
}
