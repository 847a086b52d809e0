//! What is durable of topics, as readers know it, and who waits for more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use intertie_messaging::log::Cleanup;
use intertie_messaging::{EngineError, Listing, Name};
use tokio::sync::Notify;

/// What a group of commands changed that readers have to know.
#[derive(Debug)]
pub(crate) enum News {
    /// There is a topic, with the number and the end of each partition, or it has more of them now.
    Topic { name: Name, number: i64, cleanup: Cleanup, partitions: Vec<(i64, u64)> },
    /// It is there and can not be read: why.
    Shut { name: Name, problem: String },
    /// It is gone.
    Gone(Name),
    /// A partition ends there now.
    End { name: Name, partition: u32, end: u64 },
}

/// All topics, as far as they are durable.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    shared: Arc<Mutex<Shared>>,
    most: usize,
}

#[derive(Debug, Default)]
struct Shared {
    topics: BTreeMap<Name, Topic>,
    /// Topics that can not be read, and why.
    shut: BTreeMap<Name, String>,
    /// How many wait in all.
    waiting: usize,
}

#[derive(Debug)]
struct Topic {
    number: i64,
    cleanup: Cleanup,
    partitions: Vec<Partition>,
}

#[derive(Debug)]
struct Partition {
    number: i64,
    end: u64,
    /// What rings for those who wait, if there is somebody.
    bell: Option<(Arc<Notify>, usize)>,
}

/// A topic as a reader finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) number: i64,
    pub(crate) cleanup: Cleanup,
    /// The number and the end of each partition.
    pub(crate) partitions: Vec<(i64, u64)>,
}

impl Published {
    /// Nothing yet, and room for so many who wait.
    pub(crate) fn new(most: usize) -> Self {
        Self { shared: Arc::default(), most }
    }

    /// Lets readers know, and wakes those whom it concerns.
    pub(crate) fn tell(&self, news: Vec<News>) {
        if news.is_empty() {
            return;
        }
        let mut shared = self.lock();
        for news in news {
            match news {
                News::Topic { name, number, cleanup, partitions } => {
                    shared.put(name, number, cleanup, &partitions);
                }
                News::Shut { name, problem } => drop(shared.shut.insert(name, problem)),
                News::Gone(name) => {
                    shared.shut.remove(&name);
                    let gone = shared.topics.remove(&name);
                    gone.into_iter()
                        .flat_map(|topic| topic.partitions)
                        .for_each(|partition| partition.ring());
                }
                News::End { name, partition, end } => {
                    let topic = shared.topics.get_mut(&name);
                    if let Some(own) = topic.and_then(|topic| topic.partitions.get_mut(partition as usize)) {
                        // What was only removed is nothing to read.
                        let has_more = own.end < end;
                        own.end = end;
                        if has_more {
                            own.ring();
                        }
                    }
                }
            }
        }
    }

    /// The number and the end of a partition.
    ///
    /// # Errors
    /// When there is no such partition.
    pub(crate) fn partition(&self, name: &Name, partition: u32) -> Result<(i64, u64), EngineError> {
        let shared = self.lock();
        let Some(topic) = shared.topics.get(name) else {
            drop(shared);
            return Err(self.missing(name));
        };
        match topic.partitions.get(partition as usize) {
            Some(own) => Ok((own.number, own.end)),
            None => {
                let partitions = topic.partitions.len() as u32;
                Err(EngineError::NoPartition { partition, partitions })
            }
        }
    }

    /// All of a topic.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn topic(&self, name: &Name) -> Result<Found, EngineError> {
        let shared = self.lock();
        let Some(topic) = shared.topics.get(name) else {
            drop(shared);
            return Err(self.missing(name));
        };
        let partitions = topic.partitions.iter().map(|partition| (partition.number, partition.end)).collect();
        Ok(Found { number: topic.number, cleanup: topic.cleanup, partitions })
    }

    /// The same error with the name that may have been meant, if it is about a topic that is not there.
    pub(crate) fn with_nearest(&self, error: EngineError) -> EngineError {
        match error {
            EngineError::NotFound { name, .. } => self.not_found(&name),
            error => error,
        }
    }

    /// The names behind one.
    pub(crate) fn list(&self, listing: &Listing) -> Vec<Name> {
        use std::ops::Bound;
        let after = listing.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let shared = self.lock();
        let names = shared.topics.range::<Name, _>((after, Bound::Unbounded));
        names.take(listing.most.get() as usize).map(|(name, _)| name.clone()).collect()
    }

    /// Waits for records of a partition until the place is dropped.
    ///
    /// # Errors
    /// When there is no such partition, or no room for one more.
    pub(crate) fn begin(&self, name: &Name, partition: u32) -> Result<Place, EngineError> {
        let (number, _) = self.partition(name, partition)?;
        let mut shared = self.lock();
        if shared.waiting >= self.most {
            return Err(EngineError::Overloaded { bound: "readers_waiting_max", limit: self.most as u64 });
        }
        shared.waiting += 1;
        let topic = shared.topics.get_mut(name);
        let own = topic.and_then(|topic| topic.partitions.get_mut(partition as usize));
        let bell = match own.filter(|own| own.number == number) {
            Some(own) => {
                let (bell, count) = own.bell.get_or_insert_with(|| (Arc::default(), 0));
                *count += 1;
                Arc::clone(bell)
            }
            // It went this moment, which whoever waits finds before it sleeps: the place is of no partition that is.
            None => Arc::default(),
        };
        Ok(Place { published: self.clone(), name: name.clone(), partition, number, bell })
    }

    /// Why a name is no topic that can be read.
    fn missing(&self, name: &Name) -> EngineError {
        let problem = self.lock().shut.get(name).cloned();
        problem.map_or_else(|| self.not_found(name), |problem| super::unreadable(name, &problem))
    }

    /// The names are compared beside the lock, for which the writer would wait.
    fn not_found(&self, name: &Name) -> EngineError {
        let known: Vec<_> = self.lock().topics.keys().cloned().collect();
        let nearest = known
            .into_iter()
            .map(|known| (strsim::damerau_levenshtein(name.as_str(), known.as_str()), known))
            .filter(|(distance, known)| *distance <= known.as_str().len().div_ceil(4))
            .min()
            .map(|(_, known)| known);
        EngineError::NotFound { name: name.clone(), nearest }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn put(&mut self, name: Name, number: i64, cleanup: Cleanup, partitions: &[(i64, u64)]) {
        let topic =
            self.topics.entry(name).or_insert_with(|| Topic { number, cleanup, partitions: Vec::new() });
        topic.cleanup = cleanup;
        for (number, end) in &partitions[topic.partitions.len().min(partitions.len())..] {
            topic.partitions.push(Partition { number: *number, end: *end, bell: None });
        }
    }
}

impl Partition {
    fn ring(&self) {
        if let Some((bell, _)) = &self.bell {
            bell.notify_waiters();
        }
    }
}

/// One reader that waits.
#[derive(Debug)]
pub(crate) struct Place {
    published: Published,
    name: Name,
    partition: u32,
    number: i64,
    bell: Arc<Notify>,
}

impl Place {
    /// Whether it is of the partition that has the name now: else nothing rings.
    pub(crate) fn is_current(&self) -> bool {
        self.published.partition(&self.name, self.partition).is_ok_and(|(number, _)| number == self.number)
    }

    /// What rings when there may be something.
    pub(crate) fn bell(&self) -> Arc<Notify> {
        Arc::clone(&self.bell)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shared = self.published.lock();
        shared.waiting -= 1;
        let topic = shared.topics.get_mut(&self.name);
        let own = topic.and_then(|topic| topic.partitions.get_mut(self.partition as usize));
        // Another topic may have the name by now.
        let Some(own) = own.filter(|own| own.number == self.number) else { return };
        if let Some((_, count)) = &mut own.bell {
            *count -= 1;
            if *count == 0 {
                own.bell = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn topic(text: &str, partitions: &[(i64, u64)]) -> News {
        let partitions = partitions.to_vec();
        News::Topic { name: name(text), number: 1, cleanup: Cleanup::Delete, partitions }
    }

    #[test]
    fn a_topic_that_grows_keeps_what_is_known_and_who_waits() {
        let published = Published::new(1);
        published.tell(vec![topic("prices", &[(1, 0)])]);
        let place = published.begin(&name("prices"), 0).expect("room");
        let overloaded = published.begin(&name("prices"), 0).expect_err("no room");
        assert_eq!(overloaded, EngineError::Overloaded { bound: "readers_waiting_max", limit: 1 });
        let end = |end| News::End { name: name("prices"), partition: 0, end };
        let bell = place.bell();
        let mut rung = std::pin::pin!(bell.notified());
        rung.as_mut().enable();
        published.tell(vec![end(0)]);
        assert!(!rung.as_mut().enable(), "nothing came");
        published.tell(vec![end(7)]);
        assert!(rung.as_mut().enable(), "something came");
        published.tell(vec![topic("prices", &[(1, 7), (5, 0)])]);
        let found = published.topic(&name("prices")).expect("is there");
        assert_eq!(found.partitions, [(1, 7), (5, 0)]);
        assert!(Arc::ptr_eq(
            &place.bell,
            &published.lock().topics[&name("prices")].partitions[0].bell.as_ref().expect("somebody waits").0
        ));
        assert!(place.is_current());
        published.tell(vec![News::Gone(name("prices")), topic("prices", &[(9, 0)])]);
        assert!(!place.is_current());
        let other = published.partition(&name("prices"), 0).expect("is there");
        assert_eq!(other, (9, 0), "nothing of the one before");
        drop(place);
        published.begin(&name("prices"), 0).expect("room again");
    }
}
