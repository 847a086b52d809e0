//! Topics: records in SQLite, and in memory only counters, groups, and what is appended next.
//!
//! - `tables`: how they lie on the disk, and what a verb costs.
//! - `partition`: a partition in memory; `group`: a group.
//! - `declare`, `members`: what callers ask for; `change`: what commits do; `compact`: records that replace others.
//! - `due`: what time does by itself; `load`: what opening reads.
//! - `find`, `look`: what is read, beside the writer too; `published`: what readers may know of, and whom to wake.

mod change;
mod compact;
mod declare;
mod due;
mod find;
mod group;
mod load;
mod look;
mod members;
mod partition;
mod published;
mod tables;

#[cfg(test)]
mod costs;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use intertie_messaging::log::{Assignment, Heartbeat, Held, Join, Membership, Seek, TopicSpec};
use intertie_messaging::{EngineError, Name};
use rusqlite::{Connection, ToSql, params_from_iter};

pub(crate) use change::Change;
pub(crate) use find::find;
pub(crate) use look::{Kept, count, groups, lag, page};
pub(crate) use published::{Place, Published};

use crate::moment::Moment;
use crate::statement::run;
use group::Group;
use partition::Partition;
use published::News;

/// What of topics is bounded for all of them together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogLimits {
    /// Topics.
    pub(crate) topics: usize,
    /// Their partitions.
    pub(crate) partitions: usize,
    /// Groups.
    pub(crate) groups: usize,
    /// Partitions of all groups.
    pub(crate) positions: usize,
    /// Members of one group.
    pub(crate) members: usize,
    /// Bytes of a key, where they are kept beside the record.
    pub(crate) key_bytes: usize,
    /// What time does at once, in records and other rows.
    pub(crate) step: usize,
    /// The same in bytes of records.
    pub(crate) step_bytes: u64,
    /// How long a removal may come late, so that more of it can be done at once.
    pub(crate) late: Duration,
}

/// What is asked of topics beside commits and reading.
#[derive(Debug)]
pub(crate) enum Ask {
    Declare {
        name: Name,
        spec: Box<TopicSpec>,
    },
    Delete {
        name: Name,
    },
    /// `starts` are the positions of its moment by partition, as far as they were looked up before.
    Join {
        join: Join,
        starts: Vec<u64>,
    },
    Heartbeat(Heartbeat),
    Leave(Membership),
    Seek {
        seek: Seek,
        starts: Vec<u64>,
    },
}

/// What is said to that.
#[derive(Debug)]
pub(crate) enum Said {
    Done,
    Joined(Result<Assignment, EngineError>),
    Stayed(Result<Assignment, EngineError>),
    Sought(Result<Vec<(u32, u64)>, EngineError>),
}

impl Ask {
    /// What its sender chose the size of.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Heartbeat(heartbeat) => size_of_val(heartbeat.released.as_slice()),
            Self::Join { starts, .. } | Self::Seek { starts, .. } => size_of_val(starts.as_slice()),
            Self::Declare { .. } | Self::Delete { .. } | Self::Leave(_) => 0,
        }
    }
}

/// One topic.
#[derive(Debug)]
struct Topic {
    number: i64,
    spec: TopicSpec,
    partitions: Vec<Partition>,
    groups: HashMap<Name, Group>,
    /// The partition of the next record that has no key and names none.
    turn: u32,
    /// The largest of all positions.
    highest: u64,
}

/// A record on its way to its table.
#[derive(Debug)]
struct Row {
    id: i64,
    stored: Moment,
    content: Vec<u8>,
}

/// So much of records.
#[derive(Debug, Clone, Copy, Default)]
struct Amount {
    records: usize,
    bytes: u64,
}

/// All topics.
#[derive(Debug)]
pub(crate) struct Topics {
    limits: LogLimits,
    /// What this group of commands appends, and what the one before it did.
    appends: Amount,
    appended: Amount,
    has_tables: bool,
    topics: HashMap<Name, Topic>,
    /// Topics that can not be read, each with its number and why.
    shut: HashMap<Name, (i64, String)>,
    last_topic: i64,
    last_partition: i64,
    last_group: i64,
    /// A generation that no group of a topic that is gone gave out: with it new groups begin, so that nobody who was in
    /// one is in a later one of the same name.
    generation: u64,
    /// Numbers of all partitions, and of those that are gone and of which rows are left.
    numbers: BTreeSet<i64>,
    /// Numbers of partitions and groups that are gone, of which rows are left.
    removed_partitions: BTreeSet<i64>,
    removed_groups: BTreeSet<i64>,
    alarms: BTreeSet<(Moment, Name, u32)>,
    /// Partitions whose counters changed in this group of commands.
    dirty: Vec<(Name, u32)>,
    /// Records of this group of commands that are not in their table yet.
    rows: Vec<Row>,
    /// Members from before this process, by topic and group: their sessions begin anew when the time is known.
    resuming: Vec<(Name, Name, Vec<Held>)>,
    news: Vec<News>,
}

/// Rows of one statement.
const ROWS: usize = 32;

impl Topics {
    fn topic(&self, name: &Name) -> Result<&Topic, EngineError> {
        match (self.topics.get(name), self.shut.get(name)) {
            (Some(topic), _) => Ok(topic),
            (None, Some((_, problem))) => Err(unreadable(name, problem)),
            (None, None) => Err(not_found(name)),
        }
    }

    fn partition(&self, name: &Name, partition: u32) -> Result<&Topic, EngineError> {
        let topic = self.topic(name)?;
        let partitions = topic.spec.partitions.get();
        if partition < partitions {
            Ok(topic)
        } else {
            Err(EngineError::NoPartition { partition, partitions })
        }
    }

    /// What readers may know and hear of, now that the group is durable.
    pub(crate) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Has a partition looked at, at the latest `at` that moment.
    fn set_alarm(&mut self, name: &Name, partition: u32, at: Moment) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        let alarm = &mut topic.partitions[partition as usize].alarm;
        match *alarm {
            Some(set) if set <= at => return,
            Some(set) => drop(self.alarms.remove(&(set, name.clone(), partition))),
            None => {}
        }
        *alarm = Some(at);
        self.alarms.insert((at, name.clone(), partition));
    }

    fn touch(&mut self, name: &Name, partition: u32) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        let own = &mut topic.partitions[partition as usize];
        if !own.is_dirty {
            own.is_dirty = true;
            self.dirty.push((name.clone(), partition));
        }
    }

    /// Writes what was only noted.
    pub(crate) fn flush(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.write_rows(connection)?;
        self.appended = std::mem::take(&mut self.appends);
        for (name, partition) in std::mem::take(&mut self.dirty) {
            // It may be gone since, and another topic have its name.
            let topic = self.topics.get_mut(&name);
            let Some(own) = topic.and_then(|topic| topic.partitions.get_mut(partition as usize)) else {
                continue;
            };
            own.is_dirty = false;
            let Partition { number, next, records, bytes, .. } = *own;
            let sql = "UPDATE topic_partition SET next = ?2, records = ?3, bytes = ?4 WHERE number = ?1";
            run(connection, sql, [number, next.cast_signed(), records.cast_signed(), bytes.cast_signed()])?;
            self.news.push(News::End { name, partition, end: next });
        }
        Ok(())
    }

    /// Puts noted records into their table.
    fn write_rows(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        // Those of one partition lie side by side.
        self.rows.sort_unstable_by_key(|row| row.id);
        let (many, few) = self.rows.split_at(self.rows.len() / ROWS * ROWS);
        for rows in many.chunks(ROWS) {
            let values = rows.iter().flat_map(|row| [&row.id as &dyn ToSql, &row.stored, &row.content]);
            connection.prepare_cached(INSERT_MANY)?.execute(params_from_iter(values))?;
        }
        for row in few {
            insert(connection, row)?;
        }
        self.rows.clear();
        Ok(())
    }
}

fn insert(connection: &Connection, row: &Row) -> rusqlite::Result<()> {
    let values = (row.id, row.stored, &row.content);
    run(connection, "INSERT INTO record VALUES (?, ?, ?)", values).map(|_| ())
}

/// [`ROWS`] records.
const INSERT_MANY: &str = concat!(
    "INSERT INTO record VALUES ",
    "(?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), ",
    "(?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), ",
    "(?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), ",
    "(?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?)",
);

fn unreadable(name: &Name, problem: &str) -> EngineError {
    let cause = format!("the topic `{name}` can not be read: {problem}");
    EngineError::Unavailable { cause, retry_after: None }
}

/// The names that are like it are looked for by whoever asked, who does not hold up others.
fn not_found(name: &Name) -> EngineError {
    EngineError::NotFound { name: name.clone(), nearest: None }
}
