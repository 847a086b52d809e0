//! Queues: state in SQLite, and in memory the edge at which something happens.
//!
//! - `tables`: how they lie on the disk, and what a verb costs.
//! - `one`: a queue in memory; `lanes`: the heads of what is ready.
//! - `declare`, `deliver`, `settle`, `look`: what callers ask for; `change` and `apply`: what commits do; `nearest`:
//!   what somebody may have meant.
//! - `store`: how messages come, wait and go; `dead`: where they go that died; `due`: what time does by
//!   itself; `ids`: what is remembered of messages that went; `load`: what opening reads, and what it does with what
//!   it can not.

/// What is there, or the refusal of what names it.
macro_rules! found {
    ($found:expr) => {
        match $found {
            Ok(found) => found,
            Err(missing) => return Ok(Err(missing.into())),
        }
    };
}

mod apply;
mod change;
mod dead;
mod declare;
mod deliver;
mod due;
mod ids;
mod lanes;
mod load;
mod look;
mod nearest;
mod one;
mod row;
mod settle;
mod store;
mod tables;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use intertie_messaging::{EngineError, Listing, Name};
use rusqlite::Connection;

pub(crate) use change::{Change, Together};
pub(crate) use dead::read_dead;
pub(crate) use deliver::{Leased, Then};
pub(crate) use look::{Found, HeldPositions, browse};
pub(crate) use nearest::nearest;

use crate::damage::Damages;
use crate::moment::Moment;
use crate::wakes::Wakes;
use due::Alarm;
use ids::Ids;
use one::Queue;

/// What of queues is bounded for all of them together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueLimits {
    /// Queues.
    pub(crate) queues: usize,
    /// Heads of each lane in memory.
    pub(crate) heads: usize,
    /// What time does at once.
    pub(crate) step: usize,
    /// Bytes of messages that a group delivers, and that it moves, beside those of its commands.
    pub(crate) bytes: u64,
    /// Ids that are remembered.
    pub(crate) ids: u64,
    /// Bytes of an id, and of a group's key.
    pub(crate) key_bytes: usize,
}

/// All queues.
#[derive(Debug)]
pub(crate) struct Queues {
    limits: QueueLimits,
    /// Of all, those that can not be read included.
    names: BTreeMap<Name, i64>,
    queues: HashMap<i64, Queue>,
    /// Numbers of queues that can not be read, and why.
    shut: BTreeMap<i64, String>,
    /// Whose dead letters go to a queue.
    sources: HashMap<Name, BTreeSet<Name>>,
    /// Numbers of queues that are gone, of which rows are left.
    removed: BTreeSet<i64>,
    last_number: i64,
    /// The first moment in `message_timer`, or one before it.
    next_timer: Option<Moment>,
    lease_ends: BTreeSet<(Moment, i64, u64)>,
    alarms: BTreeSet<(Moment, i64, Alarm)>,
    /// Queues whose counters changed in this group.
    dirty: Vec<i64>,
    /// Queues that nobody has used since they were loaded, as far as time counts for them.
    unused: Vec<i64>,
    wakes: Wakes,
    ids: Ids,
    /// Bytes of messages that this group delivered.
    delivered: u64,
    /// Bytes of messages that this group moved: those that died, and those that were redriven.
    moved: u64,
    damages: Damages,
}

impl Queues {
    /// The number of a queue. Nobody looks here for the name that may have been meant: that takes as long as there
    /// are queues, and whoever is answered can do it beside the writer.
    fn number(&self, name: &Name) -> Result<i64, EngineError> {
        let number = self.names.get(name).copied();
        let number = number.ok_or_else(|| EngineError::NotFound { name: name.clone(), nearest: None })?;
        match self.shut.get(&number) {
            None => Ok(number),
            Some(problem) => {
                let cause = format!("the queue `{name}` can not be read: {problem}");
                Err(EngineError::Unavailable { cause, retry_after: None })
            }
        }
    }

    /// A queue that is known to be there.
    fn at(&self, number: i64) -> &Queue {
        &self.queues[&number]
    }

    /// The same, to be changed.
    fn at_mut(&mut self, number: i64) -> &mut Queue {
        let queue = self.queues.get_mut(&number).expect("its number was just found");
        if !queue.is_dirty {
            queue.is_dirty = true;
            self.dirty.push(number);
        }
        queue
    }

    /// The names of queues behind one.
    pub(crate) fn list(&self, listing: &Listing) -> Vec<Name> {
        use std::ops::Bound;
        let after = listing.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let names = self.names.range::<Name, _>((after, Bound::Unbounded));
        names.take(listing.most.get() as usize).map(|(name, _)| name.clone()).collect()
    }

    /// Whose waiting consumers are to ask again, now that the group is durable.
    pub(crate) fn take_wakes(&mut self) -> Wakes {
        std::mem::take(&mut self.wakes)
    }

    /// How many more messages of a queue a consumer may hold by its share.
    pub(crate) fn share_left(&self, queue: &Name, consumer: &Name) -> u32 {
        self.number(queue).map_or(0, |number| self.at(number).room(consumer).1)
    }

    /// Writes what changed in the counters, at the end of a group.
    pub(crate) fn flush(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        (self.delivered, self.moved) = (0, 0);
        self.ids.flush(connection)?;
        for number in std::mem::take(&mut self.dirty) {
            let Some(queue) = self.queues.get_mut(&number) else { continue };
            queue.is_dirty = false;
            declare::write_counters(connection, number, &queue.counters)?;
        }
        Ok(())
    }
}
