//! What commits do to queues, once it was checked.

use intertie_messaging::Durability;
use intertie_messaging::commit::{Outcome, Receipt};
use intertie_messaging::queue::DeadLetter;
use rusqlite::{Connection, params};

use super::change::{Change, Draft, member_of};
use super::dead::read_dead;
use super::row::{self, run};
use super::store::Incoming;
use super::tables::key;
use super::{Alarm, Queues};
use crate::content;
use crate::moment::{Moment, later, moment, timestamp};

impl Queues {
    /// Does what was checked.
    pub(crate) fn apply(
        &mut self,
        connection: &Connection,
        change: Change,
        now: Moment,
    ) -> rusqlite::Result<Outcome> {
        const CHECKED: &str = "it was checked before";
        let stored =
            |position| Receipt { partition: 0, position: Some(position), durability: Durability::SYNCED };
        match change {
            Change::Send { queue, draft } => {
                let number = self.number(&queue).expect(CHECKED);
                let is_seen = self.at(number).spec.deduplication_window.is_some();
                if is_seen {
                    let id = content::identity(&draft.content).unwrap_or_default();
                    if let Some(position) = self.duplicate_of(connection, number, id, now)? {
                        return Ok(Outcome::Duplicate(stored(position)));
                    }
                }
                let due = moment(draft.due.moment(timestamp(now)));
                let Draft { content, priority, expires, member, .. } = draft;
                let incoming = Incoming { content: &content, priority, due, expires, member, dead: None };
                let position = self.put(connection, number, incoming, now, now)?;
                if is_seen {
                    self.remember_id(connection, number, position, &content, now)?;
                }
                Ok(Outcome::Stored(stored(position)))
            }
            Change::Cancel { queue, position } => {
                let number = self.number(&queue).expect(CHECKED);
                if let Some(row) = row::read(connection, number, position)? {
                    self.take_out(connection, &row, now)?;
                }
                run(connection, "DELETE FROM message_seen WHERE id = ?1", [key(number, position)])?;
                Ok(Outcome::Done)
            }
            Change::Settle { queue, token, settlement } => {
                let number = self.number(&queue).expect(CHECKED);
                // The same settlement twice in one commit is done once.
                if let Some(token) = token.filter(|token| self.at(number).live(*token, now).is_some()) {
                    self.settle(connection, number, token, &settlement, now)?;
                }
                Ok(Outcome::Done)
            }
            Change::Redrive { queue, position, to } => {
                let number = self.number(&queue).expect(CHECKED);
                let (row, content) = row::read_whole(connection, number, position)?.expect(CHECKED);
                self.take_out(connection, &row, now)?;
                let dead = row.dead.as_deref().and_then(read_dead);
                let dead = dead.map(|dead| DeadLetter { redrives: dead.redrives.saturating_add(1), ..dead });
                let to = self.number(&to).expect(CHECKED);
                let priority = row.priority.min(self.at(to).spec.priorities.get() - 1);
                let member = member_of(&content);
                let dead = dead.as_ref();
                let incoming =
                    Incoming { content: &content, priority, due: now, expires: None, member, dead };
                Ok(Outcome::Stored(stored(self.put(connection, to, incoming, now, now)?)))
            }
            Change::Bury { queue, content, dead } => {
                let number = self.number(&queue).expect(CHECKED);
                let member = member_of(&content);
                let dead = Some(&*dead);
                let incoming =
                    Incoming { content: &content, priority: 0, due: now, expires: None, member, dead };
                Ok(Outcome::Stored(stored(self.put(connection, number, incoming, now, now)?)))
            }
        }
    }

    fn remember_id(
        &mut self,
        connection: &Connection,
        number: i64,
        position: u64,
        content: &[u8],
        now: Moment,
    ) -> rusqlite::Result<()> {
        let id = content::identity(content).unwrap_or_default();
        // The same id may still be there, though its window is over.
        let sql = "DELETE FROM message_seen WHERE queue = ?1 AND key = ?2";
        run(connection, sql, params![number, id])?;
        let sql = "INSERT INTO message_seen VALUES (?1, ?2, ?3, ?4)";
        run(connection, sql, params![key(number, position), number, id, now])?;
        let window = self.at(number).spec.deduplication_window;
        // An alarm that is set already goes off earlier, and sets itself for what comes next.
        if let Some(window) = window.filter(|_| !self.at(number).has_ids) {
            self.at_mut(number).has_ids = true;
            self.alarms.insert((later(now, window), number, Alarm::Ids));
        }
        Ok(())
    }
}
