//! Who waits for messages, and whom to tell.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use intertie_messaging::Name;
use tokio::sync::Notify;

/// Which waiting consumers a group has something for.
#[derive(Debug, Default)]
pub(crate) struct Wakes(BTreeMap<Name, Wake>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wake {
    /// As many as there are messages.
    Some(u32),
    /// Each has to look for itself.
    All,
}

impl Wakes {
    /// One message more than before, or room for one.
    pub(crate) fn one(&mut self, queue: &Name) {
        match self.0.get_mut(queue) {
            Some(Wake::Some(count)) => *count = count.saturating_add(1),
            Some(Wake::All) => {}
            None => drop(self.0.insert(queue.clone(), Wake::Some(1))),
        }
    }

    /// Something that concerns each of those who wait.
    pub(crate) fn all(&mut self, queue: &Name) {
        self.0.insert(queue.clone(), Wake::All);
    }
}

/// Consumers that wait, by queue.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    shared: Arc<Mutex<Shared>>,
    most: usize,
}

#[derive(Debug, Default)]
struct Shared {
    queues: HashMap<Name, Queue>,
    /// How many wait in all.
    count: usize,
}

#[derive(Debug, Default)]
struct Queue {
    bell: Arc<Notify>,
    consumers: BTreeMap<Name, u32>,
}

impl Waiting {
    /// Room for so many.
    pub(crate) fn new(most: usize) -> Self {
        Self { shared: Arc::default(), most }
    }

    /// How many may wait.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Tells those whom `wakes` means.
    pub(crate) fn wake(&self, wakes: &Wakes) {
        if wakes.0.is_empty() {
            return;
        }
        let shared = self.lock();
        for (name, wake) in &wakes.0 {
            let Some(queue) = shared.queues.get(name) else { continue };
            let waiting: u32 = queue.consumers.values().sum();
            match wake {
                Wake::Some(count) if *count < waiting => (0..*count).for_each(|_| queue.bell.notify_one()),
                _ => queue.bell.notify_waiters(),
            }
        }
    }

    /// Consumers that wait for messages of a queue.
    pub(crate) fn consumers(&self, queue: &Name) -> Vec<Name> {
        let shared = self.lock();
        shared.queues.get(queue).map(|queue| queue.consumers.keys().cloned().collect()).unwrap_or_default()
    }

    /// Waits in the name of `consumer` until the place is dropped, if there is room for one more.
    pub(crate) fn begin(&self, queue: &Name, consumer: &Name) -> Option<Place> {
        let mut shared = self.lock();
        if shared.count >= self.most {
            return None;
        }
        shared.count += 1;
        let own = shared.queues.entry(queue.clone()).or_default();
        *own.consumers.entry(consumer.clone()).or_default() += 1;
        let bell = Arc::clone(&own.bell);
        Some(Place { waiting: self.clone(), queue: queue.clone(), consumer: consumer.clone(), bell })
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One consumer that waits.
#[derive(Debug)]
pub(crate) struct Place {
    waiting: Waiting,
    queue: Name,
    consumer: Name,
    bell: Arc<Notify>,
}

impl Place {
    /// What rings when there may be something.
    pub(crate) fn bell(&self) -> &Notify {
        &self.bell
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shared = self.waiting.lock();
        shared.count -= 1;
        let Some(own) = shared.queues.get_mut(&self.queue) else { return };
        if let Some(count) = own.consumers.get_mut(&self.consumer) {
            *count -= 1;
            if *count == 0 {
                own.consumers.remove(&self.consumer);
            }
        }
        if own.consumers.is_empty() {
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

    /// How many of them ring when `wakes` are told.
    fn rung(places: &[Place], waiting: &Waiting, wakes: &Wakes) -> usize {
        let mut bells: Vec<_> = places.iter().map(|place| Box::pin(place.bell().notified())).collect();
        for bell in &mut bells {
            bell.as_mut().enable();
        }
        waiting.wake(wakes);
        let mut context = Context::from_waker(Waker::noop());
        bells
            .iter_mut()
            .map(|bell| bell.as_mut().poll(&mut context))
            .filter(std::task::Poll::is_ready)
            .count()
    }

    #[test]
    fn as_many_are_woken_as_there_are_messages_and_only_those_of_the_queue() {
        let waiting = Waiting::new(100);
        let begin = |queue, consumer| waiting.begin(&name(queue), &name(consumer)).expect("room");
        let orders: Vec<_> = ["a", "b", "c"].map(|consumer| begin("orders", consumer)).into();
        let others = [begin("others", "a")];
        let mut wakes = Wakes::default();
        wakes.one(&name("orders"));
        wakes.one(&name("orders"));
        assert_eq!(rung(&others, &waiting, &wakes), 0);
        // What nobody heard a moment ago is still to be heard.
        assert_eq!(rung(&orders, &waiting, &Wakes::default()), 1);
        assert_eq!(rung(&orders, &waiting, &wakes), 2);
        wakes.all(&name("orders"));
        assert_eq!(rung(&orders, &waiting, &wakes), 3);
    }

    #[test]
    fn who_leaves_gives_on_what_it_may_have_been_told() {
        let waiting = Waiting::new(2);
        let begin = |consumer| waiting.begin(&name("orders"), &name(consumer));
        let (first, second) = (begin("a").expect("room"), [begin("b").expect("room")]);
        assert!(begin("c").is_none(), "there is room for two");
        drop(first);
        assert_eq!(rung(&second, &waiting, &Wakes::default()), 1);
        assert_eq!(waiting.consumers(&name("orders")), [name("b")]);
        drop(second);
        assert!(waiting.lock().queues.is_empty() && waiting.lock().count == 0);
    }
}
