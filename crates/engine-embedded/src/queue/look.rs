//! How much there is, and what.

use std::collections::BTreeMap;

use bytes::Bytes;
use intertie_core::clock::Timestamp;
use intertie_messaging::queue::{Browse, Browsed, Depth, Page};
use intertie_messaging::{EngineError, Name};
use rusqlite::{Connection, OptionalExtension};

use super::Queues;
use super::dead::read_dead;
use super::declare::range;
use super::row::{COLUMNS, Row, readable};
use super::tables::{is_place, key};
use crate::content;
use crate::moment::{Moment, timestamp};

/// What a queue is found to hold: its depth but for those who wait, and who holds something.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) depth: Depth,
    pub(crate) holders: Vec<Name>,
}

impl Queues {
    /// Whether there is such a queue.
    pub(crate) fn check_there(&self, name: &Name) -> Result<(), EngineError> {
        self.number(name).map(|_| ())
    }

    /// The number under which a queue's messages lie, and which of them are held, as far as a page can show them.
    pub(crate) fn held(&self, browse: &Browse) -> Option<(i64, HeldPositions)> {
        let number = self.number(&browse.queue).ok()?;
        let held = self.at(number).held.range(browse.from..).take(browse.most.get() as usize);
        Some((number, held.map(|(position, held)| (*position, held.until)).collect()))
    }

    /// How much a queue holds.
    pub(crate) fn depth(&self, connection: &Connection, name: &Name) -> rusqlite::Result<Option<Found>> {
        let Ok(number) = self.number(name) else { return Ok(None) };
        let queue = self.at(number);
        let depth = Depth {
            ready: queue.counters.ready,
            delayed: queue.counters.delayed,
            in_flight: queue.held.len() as u64,
            oldest: self.oldest(connection, number)?.map(timestamp),
            bytes: Some(queue.counters.bytes),
            consumers: None,
        };
        Ok(Some(Found { depth, holders: queue.holders.keys().cloned().collect() }))
    }

    /// When the oldest message became due of those that are: the first in one of the lanes whose order is
    /// that of time, or the first of all others.
    fn oldest(&self, connection: &Connection, number: i64) -> rusqlite::Result<Option<Moment>> {
        let sql = "SELECT due FROM message_waits WHERE queue = ?1 ORDER BY due LIMIT 1";
        let mut oldest: Option<Moment> =
            connection.prepare_cached(sql)?.query_row([number], |row| row.get(0)).optional()?;
        let sql = "SELECT due FROM message WHERE id = (SELECT ?1 | position FROM message_ready
                   WHERE queue = ?2 AND lane = ?3 ORDER BY position LIMIT 1)";
        let mut statement = connection.prepare_cached(sql)?;
        for lane in self.at(number).lanes.lanes().filter(|lane| lane.is_fresh()) {
            let values = [key(number, 0), number, lane.number().into()];
            let due: Option<Moment> = statement.query_row(values, |row| row.get(0)).optional()?;
            oldest = oldest.into_iter().chain(due).min();
        }
        Ok(oldest)
    }
}

/// Which messages are held, and until when.
pub(crate) type HeldPositions = BTreeMap<u64, Moment>;

/// Some messages of a queue, read beside the writer, who has told which of them are held.
pub(crate) fn browse(
    connection: &Connection,
    number: i64,
    held: &HeldPositions,
    browse: &Browse,
) -> rusqlite::Result<Page> {
    let mut page = Page { messages: Vec::new(), next: None };
    if !is_place(browse.from) {
        return Ok(page);
    }
    let sql = format!(
        "SELECT {COLUMNS}, content FROM message WHERE message.id BETWEEN ?1 AND ?2 ORDER BY message.id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([key(number, browse.from), range(number).1])?;
    let mut bytes = 0;
    while let Some(found) = rows.next()? {
        // What can not be read was told of, or will be when it is to be delivered.
        let Some(row) = readable(Row::of(found))? else { continue };
        bytes += row.bytes;
        let is_full = page.messages.len() == browse.most.get() as usize || bytes > browse.bytes_max.bytes();
        if is_full && !page.messages.is_empty() {
            page.next = Some(row.position);
            return Ok(page);
        }
        let until = held.get(&row.position).copied();
        page.messages.push(browsed(&row, found.get(11)?, until.map(timestamp)));
    }
    Ok(page)
}

fn browsed(row: &Row, content: Vec<u8>, leased_until: Option<Timestamp>) -> Browsed {
    Browsed {
        position: row.position,
        content: content::read(Bytes::from(content)),
        priority: row.priority,
        deliveries: row.deliveries + u32::from(leased_until.is_some()),
        stored_at: timestamp(row.stored),
        due: timestamp(row.due),
        leased_until,
        dead_letter: row.dead.as_deref().and_then(read_dead).map(Box::new),
    }
}
