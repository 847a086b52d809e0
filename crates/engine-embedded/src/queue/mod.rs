//! Queues: state in SQLite, and in memory the edge at which something happens.
//!
//! - `tables`: how they lie on the disk, and what a verb costs.
//! - `one`: a queue in memory; `lanes`: the heads of what is ready.
//! - `declare`, `deliver`, `settle`, `look`: what callers ask for; `change` and `apply`: what commits do.
//! - `store`: how messages come, wait and go; `dead`: where they go that died; `due`: what time does by
//!   itself; `load`: what opening reads.

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
mod lanes;
mod load;
mod look;
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
pub(crate) use deliver::Leased;
pub(crate) use look::{Found, HeldPositions, browse};

use crate::moment::Moment;
use crate::wakes::Wakes;
use due::Alarm;
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
}

/// All queues.
#[derive(Debug)]
pub(crate) struct Queues {
    limits: QueueLimits,
    names: BTreeMap<Name, i64>,
    queues: HashMap<i64, Queue>,
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
}

impl Queues {
    fn number(&self, name: &Name) -> Result<i64, EngineError> {
        self.names.get(name).copied().ok_or_else(|| self.not_found(name))
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

    fn not_found(&self, name: &Name) -> EngineError {
        EngineError::NotFound { name: name.clone(), nearest: self.nearest(name) }
    }

    /// Of the names that there are the one that somebody may have meant.
    fn nearest(&self, name: &Name) -> Option<Name> {
        self.names
            .keys()
            .map(|known| (strsim::damerau_levenshtein(name.as_str(), known.as_str()), known))
            .filter(|(distance, known)| *distance <= known.as_str().len().div_ceil(4))
            .min()
            .map(|(_, known)| known.clone())
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

    /// Writes the counters of all queues that changed.
    pub(crate) fn flush(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        for number in std::mem::take(&mut self.dirty) {
            let Some(queue) = self.queues.get_mut(&number) else { continue };
            queue.is_dirty = false;
            declare::write_counters(connection, number, &queue.counters)?;
        }
        Ok(())
    }
}
