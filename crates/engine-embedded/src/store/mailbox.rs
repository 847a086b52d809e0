//! Where commands wait for the writer.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A bounded queue that its one reader empties a group at a time.
///
/// A channel hands over one item for each lock and wakes its reader for the first one. Here a group costs one
/// lock, and a reader that gathers sleeps until the number that it waits for is there.
#[derive(Debug)]
pub(super) struct Mailbox<T> {
    inner: Mutex<Inner<T>>,
    reader: Condvar,
    capacity: Capacity,
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capacity {
    /// Items.
    pub(super) items: usize,
    /// What they weigh together.
    pub(super) bytes: usize,
}

/// How much is taken at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portion {
    /// Items.
    pub(super) items: usize,
    /// What they weigh together. No item weighs more.
    pub(super) bytes: usize,
}

/// Why an item was not taken in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// As many wait as may.
    Items,
    /// With it they would weigh too much.
    Bytes,
    /// Nobody reads any more.
    Closed,
}

/// Why [`Mailbox::wait`] returned.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// So many items are there.
    Items(usize),
    /// None came in time.
    Idle,
    /// None will come.
    Closed,
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<(usize, T)>,
    bytes: usize,
    /// The reader sleeps until so many are there.
    wake_at: Option<usize>,
    is_closed: bool,
}

impl<T> Mailbox<T> {
    pub(super) fn new(capacity: Capacity) -> Self {
        let inner = Inner { items: VecDeque::new(), bytes: 0, wake_at: None, is_closed: false };
        Self { inner: Mutex::new(inner), reader: Condvar::new(), capacity }
    }

    /// Adds an item that weighs `bytes`.
    pub(super) fn push(&self, item: T, bytes: usize) -> Result<(), Full> {
        let mut inner = self.lock();
        if inner.is_closed {
            return Err(Full::Closed);
        }
        if inner.items.len() >= self.capacity.items {
            return Err(Full::Items);
        }
        let heavier = inner.bytes.saturating_add(bytes);
        if heavier > self.capacity.bytes {
            return Err(Full::Bytes);
        }
        inner.bytes = heavier;
        inner.items.push_back((bytes, item));
        self.wake(inner);
        Ok(())
    }

    /// Adds an item before all that wait, past the bounds: whoever gives back can not wait for room. Of a closed
    /// mailbox it is taken out as long as its reader reads.
    pub(super) fn push_first(&self, item: T, bytes: usize) {
        let mut inner = self.lock();
        inner.bytes = inner.bytes.saturating_add(bytes);
        inner.items.push_front((bytes, item));
        self.wake(inner);
    }

    /// How much may wait.
    pub(super) fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// How many items wait.
    pub(super) fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Sleeps until an item is there, for at most `timeout` if there is one.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> Waited {
        let inner = match timeout {
            Some(timeout) => self.sleep_for(1, timeout),
            None => {
                let mut inner = self.lock();
                while inner.items.is_empty() && !inner.is_closed {
                    inner.wake_at = Some(1);
                    inner = self.reader.wait(inner).unwrap_or_else(PoisonError::into_inner);
                }
                inner
            }
        };
        match inner.items.len() {
            0 if inner.is_closed => Waited::Closed,
            0 => Waited::Idle,
            count => Waited::Items(count),
        }
    }

    /// Sleeps until `count` items are there, for at most `timeout`; returns how many are.
    pub(super) fn gather(&self, count: usize, timeout: Duration) -> usize {
        self.sleep_for(count.min(self.capacity.items), timeout).items.len()
    }

    /// Takes the oldest items, at least one if any waits.
    pub(super) fn take(&self, most: Portion) -> Vec<T> {
        let mut inner = self.lock();
        let mut bytes = 0_usize;
        let fitting = inner.items.iter().take(most.items).take_while(|(weight, _)| {
            bytes = bytes.saturating_add(*weight);
            bytes <= most.bytes
        });
        let count = fitting.count().max(1).min(inner.items.len());
        let taken: Vec<(usize, T)> = inner.items.drain(..count).collect();
        inner.bytes -= taken.iter().map(|(weight, _)| weight).sum::<usize>();
        taken.into_iter().map(|(_, item)| item).collect()
    }

    /// Takes nothing in from now on. What waits can still be taken out.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.reader.notify_one();
    }

    fn wake(&self, mut inner: MutexGuard<'_, Inner<T>>) {
        if inner.wake_at.is_some_and(|count| inner.items.len() >= count) {
            inner.wake_at = None;
            drop(inner);
            self.reader.notify_one();
        }
    }

    fn sleep_for(&self, count: usize, timeout: Duration) -> MutexGuard<'_, Inner<T>> {
        let mut inner = self.lock();
        inner.wake_at = Some(count);
        let is_short = |inner: &mut Inner<T>| inner.items.len() < count && !inner.is_closed;
        let waited = self.reader.wait_timeout_while(inner, timeout, is_short);
        let (mut inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        inner.wake_at = None;
        inner
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    const CAPACITY: Capacity = Capacity { items: 4, bytes: 100 };

    #[test]
    fn each_bound_refuses_by_itself() {
        let mailbox = Mailbox::new(CAPACITY);
        assert_eq!(mailbox.push('a', 101), Err(Full::Bytes));
        for item in ['a', 'b', 'c', 'd'] {
            mailbox.push(item, 1).expect("fits");
        }
        assert_eq!(mailbox.push('e', 1), Err(Full::Items));
        assert_eq!(mailbox.take(Portion { items: 3, bytes: 100 }), ['a', 'b', 'c']);
        mailbox.push('e', 99).expect("fits");
        assert_eq!(mailbox.push('f', 1), Err(Full::Bytes));
        mailbox.close();
        assert_eq!(mailbox.push('f', 0), Err(Full::Closed));
        assert_eq!(mailbox.wait(None), Waited::Items(2));
        assert_eq!(mailbox.take(Portion { items: 3, bytes: 50 }), ['d']);
        assert_eq!(mailbox.take(Portion { items: 3, bytes: 50 }), ['e'], "one is taken however heavy");
        assert_eq!(mailbox.wait(None), Waited::Closed);
    }

    #[test]
    fn a_reader_that_gathers_is_woken_by_the_last_of_those_it_waits_for() {
        let mailbox = Mailbox::new(Capacity { items: 100, bytes: 100 });
        thread::scope(|scope| {
            let reader = scope.spawn(|| mailbox.gather(10, Duration::from_secs(60)));
            for item in 0..10 {
                mailbox.push(item, 1).expect("fits");
            }
            assert_eq!(reader.join().expect("ends"), 10);
        });
        assert_eq!(mailbox.gather(11, Duration::ZERO), 10);
    }

    #[test]
    fn what_is_given_back_comes_first_past_the_bounds_and_wakes_the_reader() {
        let mailbox = Mailbox::new(CAPACITY);
        for item in ['a', 'b', 'c', 'd'] {
            mailbox.push(item, 25).expect("fits");
        }
        mailbox.push_first('e', 1);
        assert_eq!(mailbox.push('f', 0), Err(Full::Items));
        assert_eq!(mailbox.take(Portion { items: 2, bytes: 100 }), ['e', 'a']);
        assert_eq!(mailbox.take(Portion { items: 9, bytes: 1000 }), ['b', 'c', 'd']);
        thread::scope(|scope| {
            let reader = scope.spawn(|| mailbox.wait(None));
            mailbox.push_first('g', 1);
            assert_eq!(reader.join().expect("ends"), Waited::Items(1));
        });
    }

    #[test]
    fn closing_wakes_a_reader() {
        let mailbox: Mailbox<()> = Mailbox::new(CAPACITY);
        thread::scope(|scope| {
            let reader = scope.spawn(|| mailbox.wait(None));
            mailbox.close();
            assert_eq!(reader.join().expect("ends"), Waited::Closed);
        });
        assert_eq!(mailbox.wait(Some(Duration::from_secs(60))), Waited::Closed);
    }

    proptest! {
        #[test]
        fn it_is_a_queue_whose_weight_is_that_of_what_waits(
            steps in proptest::collection::vec(prop_oneof![
                (0_usize..60).prop_map(Some),
                Just(None),
            ], 1..100),
        ) {
            let mailbox = Mailbox::new(CAPACITY);
            let mut model: VecDeque<(usize, usize)> = VecDeque::new();
            for (number, step) in steps.into_iter().enumerate() {
                let weight: usize = model.iter().map(|(bytes, _)| bytes).sum();
                match step {
                    Some(bytes) => {
                        let expected = match () {
                            () if model.len() >= CAPACITY.items => Err(Full::Items),
                            () if weight + bytes > CAPACITY.bytes => Err(Full::Bytes),
                            () => Ok(()),
                        };
                        if expected.is_ok() {
                            model.push_back((bytes, number));
                        }
                        prop_assert_eq!(mailbox.push(number, bytes), expected);
                    }
                    None => {
                        let mut expected = Vec::new();
                        let mut bytes = 0;
                        while let Some((weight, item)) = model.front().copied() {
                            bytes += weight;
                            if expected.len() == 3 || (bytes > 70 && !expected.is_empty()) {
                                break;
                            }
                            expected.push(item);
                            model.pop_front();
                        }
                        prop_assert_eq!(mailbox.take(Portion { items: 3, bytes: 70 }), expected);
                    }
                }
                prop_assert_eq!(mailbox.len(), model.len());
            }
        }
    }
}
