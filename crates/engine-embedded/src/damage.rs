//! What of a directory can not be read: told by its name, while all the rest goes on.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use intertie_core::telemetry::{Events, Snapshot};

/// Something stored that can not be read. It stays where it is, for whoever can mend it, and nobody gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The queue: its name, or its number in the table `queue` where the name is what can not be read.
    pub queue: String,
    /// Where the message stands; unset, when it is the queue itself, which is refused as unavailable then.
    pub position: Option<u64>,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => {
                write!(f, "message {position} of queue `{}`: {}", self.queue, self.problem)
            }
            None => write!(f, "queue `{}`: {}", self.queue, self.problem),
        }
    }
}

/// All that was found since the directory was opened, as far as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Damages {
    found: Arc<Mutex<Found>>,
    kept: usize,
    events: Events,
}

#[derive(Debug, Default)]
struct Found {
    first: Vec<Damage>,
    count: u64,
}

impl Damages {
    /// Keeps the first so many, and tells `events` of each.
    pub(crate) fn new(kept: usize, events: Events) -> Self {
        Self { found: Arc::default(), kept, events }
    }

    pub(crate) fn tell(&self, damage: Damage) {
        self.events.tell("storage_damaged", || {
            let mut fields = vec![("queue", damage.queue.clone()), ("problem", damage.problem.clone())];
            fields.extend(damage.position.map(|position| ("position", position.to_string())));
            fields
        });
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.count += 1;
        if found.first.len() < self.kept && !found.first.contains(&damage) {
            found.first.push(damage);
        }
    }

    /// The first of them.
    pub(crate) fn first(&self) -> Vec<Damage> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).first.clone()
    }

    /// How many there were.
    pub(crate) fn read(&self, snapshot: &mut Snapshot) {
        let count = self.found.lock().unwrap_or_else(PoisonError::into_inner).count;
        let help = "Times that something stored could not be read.";
        snapshot.counter("storage_damages", help, &[], count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_kept_and_each_is_told_and_counted() {
        let events = Events::default();
        let told = events.subscribe(10);
        let damages = Damages::new(2, events);
        let damage = |position| Damage { queue: "orders".to_owned(), position, problem: "torn".to_owned() };
        for position in [None, None, Some(1), Some(2)] {
            damages.tell(damage(position));
        }
        assert_eq!(damages.first(), [damage(None), damage(Some(1))]);
        let told: Vec<_> = told.try_iter().map(|event| (event.name, event.fields.len())).collect();
        assert_eq!(told, [2, 2, 3, 3].map(|fields| ("storage_damaged", fields)));
        let mut snapshot = Snapshot::default();
        damages.read(&mut snapshot);
        assert_eq!(snapshot.families().len(), 1);
        assert_eq!(damage(Some(1)).to_string(), "message 1 of queue `orders`: torn");
        assert_eq!(damage(None).to_string(), "queue `orders`: torn");
    }
}
