//! How topics lie in the database, and what each verb touches of it.
//!
//! | table | a row is | in order of |
//! |---|---|---|
//! | `topic` | a topic: what was declared | number |
//! | `topic_partition` | a partition and its counters; without a topic, one that is being removed | number |
//! | `record` | a record | partition, position |
//! | `record_key` | of a compacted topic, the last record of a key | partition, key |
//! | `record_tombstone` | of a compacted topic, a record that ends its key | partition, position |
//! | `topic_group` | a group; without a topic, one that is being removed, and 0 the generation that others begin with | number |
//! | `topic_member` | a member of a group | group, name |
//! | `topic_position` | where a group goes on in a partition, and who has it | group, partition |
//!
//! They are made with the first topic. A record's key is its partition's number and its position in one integer, so
//! that each partition is a range of one tree, written at its end and removed from its beginning.
//!
//! **Ranges instead of a table for each segment**: dropping a table would free its pages without looking at its rows,
//! for about a tenth of what deleting a range costs. But each table that comes or goes has all statements of all
//! connections prepared anew, and its pages still are visited one by one, within one commit. A range is removed by
//! one statement for as many rows as fit a step, and compaction takes single rows out of the same tree.
//!
//! **Records of a key replace each other when they are appended**, not later: what is appended to a compacted topic
//! finds the last record of its key in `record_key` and takes it away. So nothing has to be gone through again, the
//! file holds what is to be kept and no more, and each append pays for itself.
//!
//! **No index of time**: within a partition time does not run back, so that a moment is found by halves, in about as
//! many steps into the tree as the partition's length has bits.
//!
//! Rows written, which `costs.rs` counts:
//!
//! | | rows | trees |
//! |---|---|---|
//! | append | 1 | `record`, at the end of a range; 32 rows by one statement |
//! | once for a group of commands, each partition in it | 1 | `topic_partition` |
//! | append to a compacted topic, with a key | 2, and 1 taken away | `record`, `record_key` |
//! | advance | 1 | `topic_position` |
//! | join | 2, and 1 for each partition that changes hands | `topic_group`, `topic_member`, `topic_position` |
//! | leave | 1, and 1 for each partition that changes hands | `topic_member`, `topic_position` |
//! | heartbeat | none, or 1 for each partition that changes hands | `topic_position` |
//! | removal | 1 taken away, by one statement for a step | `record` |
//!
//! Each partition has an end of its own, so a group of commands writes a page for each partition that it appends to: 64
//! callers who append to 64 partitions write four times as much as 64 who append to one. A topic has as many partitions
//! as it has readers to share them, and not one for each producer.
//!
//! An append reads nothing. In a compacted topic it reads one row of `record_key`, and one of `record` if there is
//! something to take away.

use rusqlite::{Connection, Row};

/// Positions are below this power of two: 22 years of 100,000 records a second.
const POSITIONS: u32 = 46;

/// The largest number of a partition.
pub(super) const NUMBER_MAX: i64 = (1 << (63 - POSITIONS)) - 1;

/// Behind all positions.
pub(super) const END: u64 = 1 << POSITIONS;

/// The number of the group that is none: its generation is one that no group of a topic that is gone gave out.
pub(super) const GENERATION: i64 = 0;

/// No topic has more partitions than this power of two.
const PARTITIONS: u32 = 14;

/// The key of the record at `position` of a partition, or behind all of them.
pub(super) fn key(number: i64, position: u64) -> i64 {
    (number << POSITIONS) | position.min(END - 1).cast_signed()
}

/// The position of a key.
pub(super) fn position(key: i64) -> u64 {
    key.cast_unsigned() & (END - 1)
}

/// The key of what a group knows of a partition.
pub(super) fn place(group: i64, partition: u32) -> i64 {
    (group << PARTITIONS) | i64::from(partition)
}

/// The group and the partition of such a key.
pub(super) fn placed(place: i64) -> (i64, u32) {
    (place >> PARTITIONS, (place & ((1 << PARTITIONS) - 1)) as u32)
}

/// A column of a row that may be damaged: what is no integer is as if it were never written.
pub(super) fn integer(row: &Row<'_>, at: usize) -> i64 {
    row.get(at).unwrap_or(0)
}

pub(super) fn are_there(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'topic'")?.exists([])
}

pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE topic (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, spec TEXT NOT NULL);
         CREATE TABLE topic_partition (
             number INTEGER PRIMARY KEY, topic INTEGER, partition INTEGER NOT NULL, next INTEGER NOT NULL,
             records INTEGER NOT NULL, bytes INTEGER NOT NULL);
         CREATE TABLE record (id INTEGER PRIMARY KEY, stored INTEGER NOT NULL, content BLOB NOT NULL);
         CREATE TABLE record_key (
             partition INTEGER, key TEXT, position INTEGER NOT NULL, ends INTEGER NOT NULL,
             PRIMARY KEY (partition, key)) WITHOUT ROWID;
         CREATE TABLE record_tombstone (id INTEGER PRIMARY KEY, stored INTEGER NOT NULL, key TEXT NOT NULL);
         CREATE TABLE topic_group (
             number INTEGER PRIMARY KEY, topic INTEGER, name TEXT NOT NULL, generation INTEGER NOT NULL,
             start INTEGER NOT NULL, start_at INTEGER NOT NULL);
         CREATE UNIQUE INDEX topic_group_name ON topic_group (topic, name);
         CREATE TABLE topic_member (
             number INTEGER, member TEXT, generation INTEGER NOT NULL, session INTEGER NOT NULL,
             PRIMARY KEY (number, member)) WITHOUT ROWID;
         CREATE TABLE topic_position (id INTEGER PRIMARY KEY, next INTEGER, owner TEXT);",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_by_partition_and_then_by_position() {
        let places = [(0, 0), (0, END - 1), (1, 0), (1, 7), (1, END - 1), (NUMBER_MAX, END - 1)];
        let keys: Vec<_> = places.iter().map(|(number, at)| key(*number, *at)).collect();
        assert!(keys.is_sorted() && keys[0] == 0 && keys[5] == i64::MAX, "{keys:?}");
        assert!(keys.iter().zip(places).all(|(key, (_, at))| position(*key) == at));
        assert_eq!(key(1, u64::MAX), key(1, END - 1), "what is behind all positions is in the range still");
        assert_eq!(placed(place(77, 9_999)), (77, 9_999));
    }
}
