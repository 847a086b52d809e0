//! How queues lie in the database, and what each verb touches of it.
//!
//! | table | a row is | in order of |
//! |---|---|---|
//! | `queue` | a queue: what was declared, and its counters | number |
//! | `message` | a message | queue, position |
//! | `message_ready` | a message that may be leased now | queue, lane, position |
//! | `message_waits` | a message that waits and may not be in its lane's order of time | queue, moment |
//! | `message_timer` | a moment at which a message becomes due, or dies | moment |
//! | `message_member` | a message of a group | queue, group, position |
//! | `message_lease` | a delivery that goes on, or whose settlement is remembered | queue, delivery |
//! | `message_seen` | an id within the window of deduplication | queue, position; queue, id |
//! | `message_seen_count` | how many there are of these | one row |
//! | `queue_removed` | a queue that is gone, and whose rows are removed step by step | number |
//!
//! A message's key is its queue's number and its position in one integer, so that each queue is a range of one tree,
//! written at its end and read at its beginning: browsing and removing need no index. Beside it the trees are narrow,
//! ten to thirty bytes a row, and a group of commands finds its pages in memory.
//!
//! Rows written, for a queue without groups, `ttl` and window, of a message that is due at once:
//!
//! | | rows | trees |
//! |---|---|---|
//! | send | 2 | `message`, `message_ready`, each at an end |
//! | lease | 2 | `message_ready` at its head, `message_lease` at an end |
//! | ack | 2 | `message` at its head, `message_lease` in place |
//! | ack, forgotten | 1 | `message_lease` at its head |
//! | once for a group, each queue in it | 1 | `queue` |
//! | once for a group with a new id | 1 | `message_seen_count` |
//!
//! What is delayed writes three rows when it is due and one more when it is leased; a retry writes three, and
//! then the same. An `expirytime` or a `ttl` is one row more to send and to ack, a group one more to each,
//! and two for what waits behind another of its group; a window is two rows more to send, and two when it is
//! over.
//!
//! A lease reads one row of `message`. Nothing else is read, unless the heads in memory are used up: then up to
//! `ready_heads` rows of `message_ready`, which lie side by side.

use rusqlite::Connection;

/// Positions are below this, and numbers of queues times this below the largest key.
pub(super) const POSITIONS: u32 = 44;

/// Nothing is sent to a queue that came so far, and nothing of it is leased: what is left is for those that die.
pub(super) const PLACES_MAX: u64 = (1 << POSITIONS) - (1 << 32);

/// The largest number of a queue.
pub(super) const NUMBER_MAX: i64 = (1 << (63 - POSITIONS)) - 1;

/// The key of what stands at `place` of a queue: a message at its position, a lease at its delivery.
pub(super) fn key(number: i64, place: u64) -> i64 {
    (number << POSITIONS) | place.cast_signed()
}

/// The number and the place of a key.
pub(super) fn place(key: i64) -> (i64, u64) {
    (key >> POSITIONS, (key & ((1 << POSITIONS) - 1)).cast_unsigned())
}

/// Whether a queue may have something there.
pub(super) fn is_place(place: u64) -> bool {
    place >> POSITIONS == 0
}

pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS queue (
             number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, spec TEXT NOT NULL, dead_letters TEXT,
             next INTEGER NOT NULL, deliveries INTEGER NOT NULL, ready INTEGER NOT NULL, delayed INTEGER NOT NULL,
             bytes INTEGER NOT NULL, used INTEGER NOT NULL, latest INTEGER NOT NULL);
         CREATE TABLE IF NOT EXISTS queue_removed (number INTEGER PRIMARY KEY);
         CREATE TABLE IF NOT EXISTS message (
             id INTEGER PRIMARY KEY, stored INTEGER NOT NULL, priority INTEGER NOT NULL,
             deliveries INTEGER NOT NULL, due INTEGER NOT NULL, first_due INTEGER NOT NULL, expires INTEGER,
             ends INTEGER, member TEXT, dead TEXT, content BLOB NOT NULL);
         CREATE TABLE IF NOT EXISTS message_ready (
             queue INTEGER, lane INTEGER, position INTEGER, PRIMARY KEY (queue, lane, position)) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS message_waits (
             queue INTEGER, due INTEGER, position INTEGER, PRIMARY KEY (queue, due, position)) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS message_timer (
             at INTEGER, id INTEGER, kind INTEGER, PRIMARY KEY (at, id, kind)) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS message_member (
             queue INTEGER, member TEXT, position INTEGER, PRIMARY KEY (queue, member, position)) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS message_lease (
             id INTEGER PRIMARY KEY, position INTEGER NOT NULL, secret INTEGER NOT NULL, until INTEGER NOT NULL,
             consumer TEXT NOT NULL, settlement BLOB);
         CREATE TABLE IF NOT EXISTS message_seen (
             id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, key TEXT NOT NULL, at INTEGER NOT NULL);
         CREATE UNIQUE INDEX IF NOT EXISTS message_seen_key ON message_seen (queue, key);
         CREATE TABLE IF NOT EXISTS message_seen_count (
             one INTEGER PRIMARY KEY CHECK (one = 1), ids INTEGER NOT NULL);
         INSERT INTO message_seen_count SELECT 1, (SELECT count(*) FROM message_seen)
             WHERE NOT EXISTS (SELECT 1 FROM message_seen_count);",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_by_queue_and_then_by_place() {
        let last = (1_u64 << POSITIONS) - 1;
        let places = [(0, 0), (0, last), (1, 0), (1, 7), (1, last), (NUMBER_MAX, 0), (NUMBER_MAX, last)];
        let keys: Vec<_> = places.iter().map(|(number, at)| key(*number, *at)).collect();
        assert!(keys.is_sorted() && keys[0] == 0 && keys[6] == i64::MAX, "{keys:?}");
        assert!(keys.iter().zip(places).all(|(key, is)| place(*key) == is));
        assert!(is_place(last) && !is_place(last + 1) && !is_place(u64::MAX));
    }
}
