//! Who waits for messages, and whom to tell.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use intertie_messaging::Name;
use tokio::sync::Notify;

/// Which waiting consumers a group has something for.
#[derive(Debug, Default)]
pub(crate) struct Wakes(BTreeMap<Name, Wake>);

#[derive(Debug)]
enum Wake {
    /// As many as there are messages.
    Some { count: u32, share: Share },
    /// Each has to look for itself.
    All,
}

/// What each consumer of a queue may take.
#[derive(Debug, Clone, Default)]
pub(crate) struct Share {
    /// How many messages one consumer may hold; unset, any number.
    pub(crate) most: Option<u32>,
    /// How many more those may hold that hold some already, as far as that is bounded.
    pub(crate) left: HashMap<Name, u32>,
}

impl Wakes {
    /// One message more than before, or room for one.
    pub(crate) fn one(&mut self, queue: &Name) {
        match self.0.get_mut(queue) {
            Some(Wake::Some { count, .. }) => *count = count.saturating_add(1),
            Some(Wake::All) => {}
            None => drop(self.0.insert(queue.clone(), Wake::Some { count: 1, share: Share::default() })),
        }
    }

    /// Something that concerns each of those who wait.
    pub(crate) fn all(&mut self, queue: &Name) {
        self.0.insert(queue.clone(), Wake::All);
    }

    /// Notes at the end of a group what each consumer may take, so that nobody is told of what it can not have.
    pub(crate) fn set_shares(&mut self, share_of: impl Fn(&Name) -> Option<Share>) {
        for (queue, wake) in &mut self.0 {
            if let (Wake::Some { share, .. }, Some(known)) = (wake, share_of(queue)) {
                *share = known;
            }
        }
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
    /// Of them, those who were not told since they asked last.
    quiet: BTreeSet<u64>,
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
    fn ring(&mut self, number: u64, ring: Ring) {
        if let Some(waiter) = self.waiters.get_mut(&number) {
            self.quiet.remove(&number);
            waiter.told = Some(ring);
            waiter.bell.notify_one();
        }
    }

    /// Tells those who came first, each for one message, and no consumer of more than it may take.
    fn ring_some(&mut self, count: u32, share: &Share) {
        let mut left = share.left.clone();
        if share.most.is_some() {
            let told = self.waiters.values().filter(|waiter| waiter.told == Some(Ring::One));
            for waiter in told {
                take_share(&mut left, share, &waiter.consumer);
            }
        }
        let quiet = self.quiet.iter().copied();
        let may = |number: &u64| take_share(&mut left, share, &self.waiters[number].consumer);
        let told: Vec<_> = quiet.filter(may).take(count as usize).collect();
        told.into_iter().for_each(|number| self.ring(number, Ring::One));
    }

    fn ring_all(&mut self, concerned: impl Fn(&Waiter) -> bool) {
        let all = self.waiters.iter().filter(|(_, waiter)| concerned(waiter));
        let all: Vec<_> = all.map(|(number, _)| *number).collect();
        all.into_iter().for_each(|number| self.ring(number, Ring::All));
    }
}

/// Whether the consumer may take one more, which is counted if it may.
fn take_share(left: &mut HashMap<Name, u32>, share: &Share, consumer: &Name) -> bool {
    let Some(most) = share.most else { return true };
    let left = match left.get_mut(consumer) {
        Some(left) => left,
        None => left.entry(consumer.clone()).or_insert(most),
    };
    let may = *left > 0;
    *left = left.saturating_sub(1);
    may
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
        let mut shared = self.lock();
        for (name, wake) in &wakes.0 {
            let Some(queue) = shared.queues.get_mut(name) else { continue };
            match wake {
                Wake::Some { count, share } => queue.ring_some(*count, share),
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
        own.quiet.insert(number);
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
            own.quiet.insert(self.number);
            self.owed = own.waiters.get_mut(&self.number).and_then(|waiter| waiter.told.take());
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
        own.quiet.remove(&self.number);
        let told = own.waiters.remove(&self.number).and_then(|waiter| waiter.told);
        if own.waiters.is_empty() {
            shared.queues.remove(&self.queue);
        } else {
            let owed = [told, self.owed].into_iter().filter(|ring| *ring == Some(Ring::One)).count();
            own.ring_some(u32::try_from(owed).unwrap_or(u32::MAX), &Share::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn messages(queue: &str, count: u32) -> Wakes {
        let mut wakes = Wakes::default();
        (0..count).for_each(|_| wakes.one(&name(queue)));
        wakes
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
        waiting.wake(&messages("orders", 2));
        // Who was told and did not look yet has no use for another message.
        waiting.wake(&messages("orders", 1));
        assert_eq!((told(&mut others), told(&mut orders)), (vec![], vec![0, 1, 2]));
        waiting.wake(&messages("orders", 1));
        assert_eq!(told(&mut orders), [0]);
        let mut wakes = messages("orders", 1);
        wakes.all(&name("orders"));
        waiting.wake(&wakes);
        assert_eq!(told(&mut orders), [0, 1, 2]);
    }

    #[test]
    fn nobody_is_told_of_more_than_its_consumer_may_take() {
        let waiting = Waiting::new(100);
        let begin = |consumer| waiting.begin(&name("orders"), &name(consumer)).expect("room");
        let mut places = ["full", "full", "one", "one", "new", "new", "new"].map(begin);
        let left = HashMap::from([(name("full"), 0), (name("one"), 1)]);
        let mut wakes = messages("orders", 5);
        wakes.set_shares(|_| Some(Share { most: Some(2), left: left.clone() }));
        waiting.wake(&wakes);
        // One that was told before is counted.
        waiting.wake(&wakes);
        assert_eq!(told(&mut places), [2, 4, 5]);
    }

    #[test]
    fn who_leaves_gives_on_what_it_was_told() {
        let waiting = Waiting::new(2);
        let begin = |consumer| waiting.begin(&name("orders"), &name(consumer));
        let (first, mut second) = (begin("a").expect("room"), [begin("b").expect("room")]);
        assert!(begin("c").is_none(), "there is room for two");
        waiting.wake(&messages("orders", 1));
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
        waiting.wake(&messages("orders", 1));
        assert!(pin!(first.told()).poll(&mut context).is_ready());
        // It can have nothing, and others can.
        first.pass_on();
        assert_eq!(told(&mut others), [1]);
        waiting.wake(&messages("orders", 1));
        assert!(pin!(first.told()).poll(&mut context).is_ready());
        drop(first);
        assert_eq!(told(&mut others), [0]);
    }
}
