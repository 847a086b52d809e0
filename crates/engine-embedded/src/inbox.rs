//! What was handled, so that it is not again.

use intertie_messaging::{EngineError, Name};
use rusqlite::{Connection, OptionalExtension, params};

use crate::moment::Moment;

/// The marks of all inboxes: `inbox_mark`, one row each, in the order of inbox and key and, to be forgotten, of time;
/// `inbox_count`, how many.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// When the first of them is forgotten, or a moment before that.
    next: Option<Moment>,
    step: usize,
    most: u64,
    count: u64,
    /// What `inbox_count` says.
    written: u64,
}

impl Inbox {
    /// With room for `most` marks, of which up to `step` are forgotten at once.
    pub(crate) fn load(connection: &Connection, most: u64, step: usize) -> rusqlite::Result<Self> {
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS inbox_mark (
                 inbox TEXT, key TEXT, until INTEGER NOT NULL, PRIMARY KEY (inbox, key)) WITHOUT ROWID;
             CREATE INDEX IF NOT EXISTS inbox_mark_until ON inbox_mark (until);
             CREATE TABLE IF NOT EXISTS inbox_count (
                 one INTEGER PRIMARY KEY CHECK (one = 1), marks INTEGER NOT NULL);
             INSERT INTO inbox_count SELECT 1, (SELECT count(*) FROM inbox_mark)
                 WHERE NOT EXISTS (SELECT 1 FROM inbox_count);",
        )?;
        let sql = "SELECT marks FROM inbox_count";
        let count = connection.query_row(sql, [], |row| row.get(0).map(i64::cast_unsigned))?;
        Ok(Self { next: first(connection)?, step, most, count, written: count })
    }

    /// Whether there is room for so many marks more.
    pub(crate) fn admit(&self, more: usize) -> Result<(), EngineError> {
        if self.count.saturating_add(more as u64) <= self.most {
            return Ok(());
        }
        Err(EngineError::Overloaded { bound: "marks_max", limit: self.most })
    }

    /// Writes how many there are, at the end of a group.
    pub(crate) fn flush(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.count != self.written {
            let sql = "UPDATE inbox_count SET marks = ?1";
            connection.prepare_cached(sql)?.execute([self.count.cast_signed()])?;
            self.written = self.count;
        }
        Ok(())
    }

    /// Whether `key` is marked.
    pub(crate) fn has(
        &self,
        connection: &Connection,
        inbox: &Name,
        key: &str,
        now: Moment,
    ) -> rusqlite::Result<bool> {
        let sql = "SELECT 1 FROM inbox_mark WHERE inbox = ?1 AND key = ?2 AND until > ?3";
        connection.prepare_cached(sql)?.exists(params![inbox.as_str(), key, now])
    }

    /// Marks `key`, which is not marked.
    pub(crate) fn mark(
        &mut self,
        connection: &Connection,
        inbox: &Name,
        key: &str,
        until: Moment,
    ) -> rusqlite::Result<()> {
        let sql = "INSERT OR IGNORE INTO inbox_mark VALUES (?1, ?2, ?3)";
        let values = params![inbox.as_str(), key, until];
        if connection.prepare_cached(sql)?.execute(values)? == 1 {
            self.count += 1;
        } else {
            // One whose time is over is still there.
            let sql = "UPDATE inbox_mark SET until = ?3 WHERE inbox = ?1 AND key = ?2";
            connection.prepare_cached(sql)?.execute(values)?;
        }
        self.next = Some(self.next.map_or(until, |next| next.min(until)));
        Ok(())
    }

    pub(crate) fn next_due(&self) -> Option<Moment> {
        self.next
    }

    /// Forgets marks whose time is over, up to a step of them.
    pub(crate) fn run_due(&mut self, connection: &Connection, now: Moment) -> rusqlite::Result<()> {
        if self.next.is_none_or(|next| next > now) {
            return Ok(());
        }
        let sql = "DELETE FROM inbox_mark WHERE (inbox, key) IN
                   (SELECT inbox, key FROM inbox_mark WHERE until <= ?1 ORDER BY until LIMIT ?2)";
        let forgotten = connection.prepare_cached(sql)?.execute(params![now, self.step as i64])?;
        self.count = self.count.saturating_sub(forgotten as u64);
        self.next = first(connection)?;
        Ok(())
    }
}

fn first(connection: &Connection) -> rusqlite::Result<Option<Moment>> {
    let sql = "SELECT until FROM inbox_mark ORDER BY until LIMIT 1";
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()
}
