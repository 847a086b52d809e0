//! Ids within the window of deduplication, of all queues: how many there are, and how they are forgotten.

use rusqlite::{Connection, params};

use super::due::first_id;
use super::row::run;
use super::tables::key;
use super::{Alarm, Queues};
use crate::moment::{Moment, later};

/// How many ids are remembered.
#[derive(Debug)]
pub(super) struct Ids {
    count: u64,
    /// What `message_seen_count` says.
    written: u64,
}

impl Ids {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT ids FROM message_seen_count";
        let count = connection.query_row(sql, [], |row| row.get(0).map(i64::cast_unsigned))?;
        Ok(Self { count, written: count })
    }

    pub(super) fn flush(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.count != self.written {
            run(connection, "UPDATE message_seen_count SET ids = ?1", [self.count.cast_signed()])?;
            self.written = self.count;
        }
        Ok(())
    }

    /// Whether `more` can be remembered.
    pub(super) fn has_room(&self, more: u64, most: u64) -> bool {
        self.count.saturating_add(more) <= most
    }

    /// So many were forgotten.
    pub(super) fn forgot(&mut self, rows: usize) {
        self.count = self.count.saturating_sub(rows as u64);
    }
}

impl Queues {
    pub(super) fn remember_id(
        &mut self,
        connection: &Connection,
        number: i64,
        position: u64,
        id: &str,
        now: Moment,
    ) -> rusqlite::Result<()> {
        // The same id may still be there, though its window is over.
        let sql = "DELETE FROM message_seen WHERE queue = ?1 AND key = ?2";
        let replaced = run(connection, sql, params![number, id])?;
        self.ids.forgot(replaced);
        let sql = "INSERT INTO message_seen VALUES (?1, ?2, ?3, ?4)";
        run(connection, sql, params![key(number, position), number, id, now])?;
        self.ids.count += 1;
        let window = self.at(number).spec.deduplication_window;
        // An alarm that is set already goes off earlier, and sets itself for what comes next.
        if let Some(window) = window.filter(|_| !self.at(number).has_ids) {
            self.at_mut(number).has_ids = true;
            self.alarms.insert((later(now, window), number, Alarm::Ids));
        }
        Ok(())
    }

    /// Forgets the id of the message that stands at `position`.
    pub(super) fn forget_id(
        &mut self,
        connection: &Connection,
        number: i64,
        position: u64,
    ) -> rusqlite::Result<()> {
        let forgotten = run(connection, "DELETE FROM message_seen WHERE id = ?1", [key(number, position)])?;
        self.ids.forgot(forgotten);
        Ok(())
    }

    /// Forgets ids whose window is over, up to `most`; how many.
    pub(super) fn forget_ids(
        &mut self,
        connection: &Connection,
        number: i64,
        most: usize,
        now: Moment,
    ) -> rusqlite::Result<usize> {
        let Some(queue) = self.queues.get_mut(&number) else { return Ok(0) };
        let window = queue.spec.deduplication_window.unwrap_or_default();
        let (first, last) = super::declare::range(number);
        let sql = "SELECT id, at FROM message_seen WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3";
        let mut statement = connection.prepare_cached(sql)?;
        let seen: Vec<(i64, Moment)> = statement
            .query_map([first, last, most as i64], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let over = seen.iter().take_while(|(_, at)| later(*at, window) <= now);
        let mut forgotten = 0;
        for (id, _) in over {
            forgotten += run(connection, "DELETE FROM message_seen WHERE id = ?1", [id])?;
        }
        self.ids.forgot(forgotten);
        let next = first_id(connection, number)?;
        queue.has_ids = next.is_some();
        self.alarms.extend(next.map(|at| (later(at, window), number, Alarm::Ids)));
        Ok(forgotten)
    }
}
