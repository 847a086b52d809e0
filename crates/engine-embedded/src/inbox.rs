//! What was handled, so that it is not again.

use intertie_messaging::Name;
use rusqlite::{Connection, OptionalExtension, params};

use crate::moment::Moment;

/// The marks of all inboxes: `inbox_mark`, one row each, in the order of inbox and key and, to be forgotten, of time.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// When the first of them is forgotten, or a moment before that.
    next: Option<Moment>,
    step: usize,
}

impl Inbox {
    pub(crate) fn load(connection: &Connection, step: usize) -> rusqlite::Result<Self> {
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS inbox_mark (
                 inbox TEXT, key TEXT, until INTEGER NOT NULL, PRIMARY KEY (inbox, key)) WITHOUT ROWID;
             CREATE INDEX IF NOT EXISTS inbox_mark_until ON inbox_mark (until);",
        )?;
        Ok(Self { next: first(connection)?, step })
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
        // One whose time is over may still be there.
        let sql = "INSERT OR REPLACE INTO inbox_mark VALUES (?1, ?2, ?3)";
        connection.prepare_cached(sql)?.execute(params![inbox.as_str(), key, until])?;
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
        connection.prepare_cached(sql)?.execute(params![now, self.step as i64])?;
        self.next = first(connection)?;
        Ok(())
    }
}

fn first(connection: &Connection) -> rusqlite::Result<Option<Moment>> {
    let sql = "SELECT until FROM inbox_mark ORDER BY until LIMIT 1";
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()
}
