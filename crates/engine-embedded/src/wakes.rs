//! Who waits for messages, and whom to tell.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use intertie_messaging::Name;
use tokio::sync::Notify;

/// Which waiting consumers a group has something for.
#[derive(Debug, Default)]
pub(crate) struct Wakes(BTreeMap<Name, Wake>);

#[derive(Debug, Clone, Copy)]
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
    /// The last number that a place was given.
    last: u64,
}

/// Those who wait for one queue, by the order in which they came.
#[derive(Debug, Default)]
struct Queue {
    waiters: BTreeMap<u64, Waiter>,
    /// Of each consumer those who were not told since they asked last, so that thousands who wait in the name of one
    /// that may have no more are passed over at once.
    quiet: HashMap<Name, BTreeSet<u64>>,
    /// The first of each of these.
    first: BTreeSet<(u64, Name)>,
    /// How many of each consumer were told of a message and did not look yet.
    told: HashMap<Name, u32>,
}

#[derive(Debug)]
struct Waiter {
    consumer: Name,
    bell: Arc<Notify>,
    told: Option<Ring>,
}

/// Why somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ring {
    /// There is one message, for one of those who wait.
    One,
    /// All were told.
    All,
}

impl Queue {
    fn set_quiet(&mut self, number: u64, is_quiet: bool) {
        let Some(waiter) = self.waiters.get(&number) else { return };
        let consumer = waiter.consumer.clone();
        let own = self.quiet.entry(consumer.clone()).or_default();
        let before = own.first().copied();
        if is_quiet {
            own.insert(number);
        } else {
            own.remove(&number);
        }
        let after = own.first().copied();
        if own.is_empty() {
            self.quiet.remove(&consumer);
        }
        if before != after {
            if let Some(before) = before {
                self.first.remove(&(before, consumer.clone()));
            }
            self.first.extend(after.map(|after| (after, consumer)));
        }
    }

    fn ring(&mut self, number: u64, ring: Ring) {
        self.take_ring(number);
        self.set_quiet(number, false);
        let Some(waiter) = self.waiters.get_mut(&number) else { return };
        waiter.told = Some(ring);
        waiter.bell.notify_one();
        if ring == Ring::One {
            *self.told.entry(waiter.consumer.clone()).or_default() += 1;
        }
    }

    /// What a waiter was told, which it looks at now.
    fn take_ring(&mut self, number: u64) -> Option<Ring> {
        let waiter = self.waiters.get_mut(&number)?;
        let ring = waiter.told.take()?;
        if let (Ring::One, Some(told)) = (ring, self.told.get_mut(&waiter.consumer)) {
            *told -= 1;
            if *told == 0 {
                self.told.remove(&waiter.consumer);
            }
        }
        Some(ring)
    }

    /// Tells those who came first, each for one message, and no consumer of more than there is `room` for in its
    /// share.
    fn ring_some(&mut self, count: u32, room: impl Fn(&Name) -> u32) {
        let mut left: HashMap<Name, u32> = HashMap::new();
        for _ in 0..count {
            let Self { first, told, .. } = &*self;
            let next = first.iter().find(|(_, consumer)| {
                let told = || told.get(consumer).copied().unwrap_or(0);
                let left =
                    left.entry(consumer.clone()).or_insert_with(|| room(consumer).saturating_sub(told()));
                *left > 0
            });
            let Some((number, consumer)) = next.cloned() else { return };
            left.entry(consumer).and_modify(|left| *left -= 1);
            self.ring(number, Ring::One);
        }
    }

    fn ring_all(&mut self, concerned: impl Fn(&Waiter) -> bool) {
        let all = self.waiters.iter().filter(|(_, waiter)| concerned(waiter));
        let all: Vec<_> = all.map(|(number, _)| *number).collect();
        all.into_iter().for_each(|number| self.ring(number, Ring::All));
    }
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

    /// Tells those whom `wakes` means, and no consumer of more than there is `room` for of a queue in its share.
    pub(crate) fn wake(&self, wakes: &Wakes, room: impl Fn(&Name, &Name) -> u32) {
        if wakes.0.is_empty() {
            return;
        }
        let mut shared = self.lock();
        for (name, wake) in &wakes.0 {
            let Some(queue) = shared.queues.get_mut(name) else { continue };
            match wake {
                Wake::Some(count) => queue.ring_some(*count, |consumer| room(name, consumer)),
                Wake::All => queue.ring_all(|_| true),
            }
        }
    }

    /// Consumers that wait for messages of a queue, in their order.
    pub(crate) fn consumers(&self, queue: &Name) -> BTreeSet<Name> {
        let shared = self.lock();
        let waiters = shared.queues.get(queue).into_iter().flat_map(|queue| queue.waiters.values());
        waiters.map(|waiter| waiter.consumer.clone()).collect()
    }

    /// Waits in the name of `consumer` until the place is dropped, if there is room for one more.
    pub(crate) fn begin(&self, queue: &Name, consumer: &Name) -> Option<Place> {
        let mut shared = self.lock();
        if shared.count >= self.most {
            return None;
        }
        shared.count += 1;
        shared.last += 1;
        let (number, bell) = (shared.last, Arc::<Notify>::default());
        let own = shared.queues.entry(queue.clone()).or_default();
        let waiter = Waiter { consumer: consumer.clone(), bell: Arc::clone(&bell), told: None };
        own.waiters.insert(number, waiter);
        own.set_quiet(number, true);
        Some(Place { waiting: self.clone(), queue: queue.clone(), number, bell, owed: None })
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One consumer that waits.
///
/// What it was told of is somebody else's when it does not take it: it goes on to the next when the place is dropped
/// before it asked.
#[derive(Debug)]
pub(crate) struct Place {
    waiting: Waiting,
    queue: Name,
    number: u64,
    bell: Arc<Notify>,
    /// What it was told, and did not answer yet by taking it or by finding nothing.
    owed: Option<Ring>,
}

impl Place {
    /// Waits until there may be something, also when that was said before this is asked.
    pub(crate) async fn told(&mut self) {
        self.bell.notified().await;
        let mut shared = self.waiting.lock();
        if let Some(own) = shared.queues.get_mut(&self.queue) {
            self.owed = own.take_ring(self.number);
            own.set_quiet(self.number, true);
        }
    }

    /// It took what it was told of, or there was nothing any more.
    pub(crate) fn is_served(&mut self) {
        self.owed = None;
    }

    /// There is something, and its consumer holds as much as it may: the others have to look.
    pub(crate) fn pass_on(&mut self) {
        if self.owed.take() != Some(Ring::One) {
            return;
        }
        let mut shared = self.waiting.lock();
        let Some(queue) = shared.queues.get_mut(&self.queue) else { return };
        let own = queue.waiters[&self.number].consumer.clone();
        queue.ring_all(|waiter| waiter.consumer != own);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shared = self.waiting.lock();
        shared.count -= 1;
        let Some(own) = shared.queues.get_mut(&self.queue) else { return };
        let told = own.take_ring(self.number);
        own.set_quiet(self.number, false);
        own.waiters.remove(&self.number);
        if own.waiters.is_empty() {
            shared.queues.remove(&self.queue);
        } else {
            let owed = [told, self.owed].into_iter().filter(|ring| *ring == Some(Ring::One)).count();
            // Who may not have it passes it on.
            own.ring_some(u32::try_from(owed).unwrap_or(u32::MAX), |_| u32::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn messages(queue: &str, count: u32) -> Wakes {
        let mut wakes = Wakes::default();
        (0..count).for_each(|_| wakes.one(&name(queue)));
        wakes
    }

    fn wake(waiting: &Waiting, wakes: &Wakes) {
        waiting.wake(wakes, |_, _| u32::MAX);
    }

    /// Which of them were told something, which they take.
    fn told(places: &mut [Place]) -> Vec<usize> {
        let mut context = Context::from_waker(Waker::noop());
        let told = places.iter_mut().enumerate().filter_map(|(at, place)| {
            let is_told = pin!(place.told()).poll(&mut context).is_ready();
            place.is_served();
            is_told.then_some(at)
        });
        told.collect()
    }

    #[test]
    fn as_many_are_woken_as_there_are_messages_and_only_those_of_the_queue() {
        let waiting = Waiting::new(100);
        let begin = |queue, consumer| waiting.begin(&name(queue), &name(consumer)).expect("room");
        let mut orders = ["a", "b", "c"].map(|consumer| begin("orders", consumer));
        let mut others = [begin("others", "a")];
        wake(&waiting, &messages("orders", 2));
        // Who was told and did not look yet has no use for another message.
        wake(&waiting, &messages("orders", 1));
        assert_eq!((told(&mut others), told(&mut orders)), (vec![], vec![0, 1, 2]));
        wake(&waiting, &messages("orders", 1));
        assert_eq!(told(&mut orders), [0]);
        let mut wakes = messages("orders", 1);
        wakes.all(&name("orders"));
        wake(&waiting, &wakes);
        assert_eq!(told(&mut orders), [0, 1, 2]);
    }

    #[test]
    fn nobody_is_told_of_more_than_its_consumer_may_take() {
        let waiting = Waiting::new(100);
        let begin = |consumer| waiting.begin(&name("orders"), &name(consumer)).expect("room");
        let mut places = ["full", "full", "one", "one", "new", "new", "new"].map(begin);
        let room = |_: &Name, consumer: &Name| match consumer.as_str() {
            "full" => 0,
            "one" => 1,
            _ => 2,
        };
        waiting.wake(&messages("orders", 5), room);
        // Those who were told before are counted.
        waiting.wake(&messages("orders", 5), room);
        assert_eq!(told(&mut places), [2, 4, 5]);
    }

    proptest! {
        #[test]
        fn those_who_can_be_told_are_those_who_were_not(
            steps in proptest::collection::vec((0..6_u8, 0..4_u8, 0..3_usize), 1..80),
        ) {
            let waiting = Waiting::new(1000);
            let mut places: Vec<Place> = Vec::new();
            for (step, number, at) in steps {
                match step {
                    0 | 1 => {
                        let consumer = name(["a", "b", "c"][at]);
                        places.push(waiting.begin(&name("orders"), &consumer).expect("room"));
                    }
                    2 | 3 => waiting.wake(&messages("orders", number.into()), |_, _| at as u32),
                    4 if at < places.len() => drop(places.remove(at)),
                    _ => {
                        let some = at.min(places.len());
                        told(&mut places[..some]);
                    }
                }
                let shared = waiting.lock();
                let Some(queue) = shared.queues.get(&name("orders")) else { continue };
                let mut quiet: HashMap<Name, BTreeSet<u64>> = HashMap::new();
                let mut told: HashMap<Name, u32> = HashMap::new();
                for (number, waiter) in &queue.waiters {
                    match waiter.told {
                        None => drop(quiet.entry(waiter.consumer.clone()).or_default().insert(*number)),
                        Some(Ring::One) => *told.entry(waiter.consumer.clone()).or_default() += 1,
                        Some(Ring::All) => {}
                    }
                }
                let first = quiet.iter().map(|(consumer, own)| (*own.first().expect("one"), consumer.clone()));
                prop_assert_eq!(&queue.first, &first.collect::<BTreeSet<_>>());
                prop_assert_eq!(&queue.quiet, &quiet);
                prop_assert_eq!(&queue.told, &told);
            }
        }
    }

    #[test]
    fn who_leaves_gives_on_what_it_was_told() {
        let waiting = Waiting::new(2);
        let begin = |consumer| waiting.begin(&name("orders"), &name(consumer));
        let (first, mut second) = (begin("a").expect("room"), [begin("b").expect("room")]);
        assert!(begin("c").is_none(), "there is room for two");
        wake(&waiting, &messages("orders", 1));
        assert_eq!(told(&mut second), Vec::<usize>::new());
        drop(first);
        assert_eq!(told(&mut second), [0]);
        assert_eq!(waiting.consumers(&name("orders")), BTreeSet::from([name("b")]));
        drop(second);
        assert!(waiting.lock().queues.is_empty() && waiting.lock().count == 0);
    }

    #[test]
    fn who_asked_and_is_refused_gives_on_what_it_was_told() {
        let waiting = Waiting::new(3);
        let begin = |consumer| waiting.begin(&name("orders"), &name(consumer)).expect("room");
        let (mut first, mut others) = (begin("a"), ["a", "b"].map(begin));
        let mut context = Context::from_waker(Waker::noop());
        wake(&waiting, &messages("orders", 1));
        assert!(pin!(first.told()).poll(&mut context).is_ready());
        // It can have nothing, and others can.
        first.pass_on();
        assert_eq!(told(&mut others), [1]);
        wake(&waiting, &messages("orders", 1));
        assert!(pin!(first.told()).poll(&mut context).is_ready());
        drop(first);
        assert_eq!(told(&mut others), [0]);
    }
}
