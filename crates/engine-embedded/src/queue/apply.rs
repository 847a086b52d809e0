//! What commits do to queues, once it was checked.

use intertie_messaging::Durability;
use intertie_messaging::commit::{Outcome, Receipt};
use intertie_messaging::queue::DeadLetter;
use rusqlite::Connection;

use super::Queues;
use super::change::{Change, Draft, member_of};
use super::dead::read_dead;
use super::row;
use super::store::Incoming;
use crate::content;
use crate::moment::{Moment, moment, timestamp};

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
                    let id = content::identity(&content).unwrap_or_default();
                    self.remember_id(connection, number, position, id, now)?;
                }
                Ok(Outcome::Stored(stored(position)))
            }
            Change::Cancel { queue, position } => {
                let number = self.number(&queue).expect(CHECKED);
                if let Some(row) = row::read(connection, number, position)? {
                    self.take_out(connection, &row, now)?;
                }
                self.forget_id(connection, number, position)?;
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
                self.moved += row.bytes;
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
}
