//! What died, and where it goes.

use intertie_messaging::queue::{Cause, DeadLetter, Origin};
use rusqlite::Connection;

use super::Queues;
use super::change::member_of;
use super::lanes::LaneId;
use super::row::{self, Row};
use super::store::{Incoming, Timer, clear_timer};
use crate::moment::{Moment, timestamp};

/// What ended a message.
#[derive(Debug)]
pub(super) struct Death {
    pub(super) cause: Cause,
    pub(super) reason: Option<String>,
    pub(super) at: Moment,
    /// Deliveries, the last included.
    pub(super) deliveries: u32,
}

impl Queues {
    /// Moves what died, and is in its queue no more, to where the dead of that go.
    pub(super) fn bury(
        &mut self,
        connection: &Connection,
        row: &Row,
        content: &[u8],
        death: Death,
        now: Moment,
    ) -> rusqlite::Result<()> {
        let queue = self.at(row.number);
        let name = queue.name.clone();
        let target = queue.dead_letters.clone().unwrap_or_else(|| name.clone());
        let Death { cause, reason, at, deliveries } = death;
        let dead = match row.dead.as_deref().and_then(read_dead) {
            // What stays among its dead letters died elsewhere.
            Some(before) if target == name => DeadLetter { cause, reason, at: timestamp(at), ..before },
            before => DeadLetter {
                cause,
                reason,
                origin: Origin::Queue { queue: name, position: Some(row.position) },
                deliveries,
                at: timestamp(at),
                redrives: before.map_or(0, |before| before.redrives),
            },
        };
        let member = member_of(content);
        let incoming =
            Incoming { content, priority: row.priority, due: at, expires: None, member, dead: Some(&dead) };
        // It is there as long as a queue names it; one that can not be read takes nothing.
        let number = self.number(&target).unwrap_or(row.number);
        self.moved += content.len() as u64;
        self.put(connection, number, incoming, at, now).map(|_| ())
    }

    /// Ends a message that nobody holds.
    pub(super) fn expire(&mut self, connection: &Connection, row: &Row, now: Moment) -> rusqlite::Result<()> {
        let Some((content, _)) = row::content_and_dead(connection, row.key())? else {
            if clear_timer(connection, row.due, row.key(), Timer::Due)? {
                self.at_mut(row.number).counters.delayed -= 1;
                self.tell_of_damage(row.number, row.position);
                return Ok(());
            }
            let lane = LaneId::of(row.priority, row.is_fresh());
            return self.set_aside(connection, row.number, lane, row.position);
        };
        self.take_out(connection, row, now)?;
        self.bury(connection, row, &content, expired(row), now)
    }
}

pub(super) fn expired(row: &Row) -> Death {
    let at = row.ends.unwrap_or(row.due);
    Death { cause: Cause::Expired, reason: None, at, deliveries: row.deliveries }
}

pub(super) fn dead_text(dead: &DeadLetter) -> String {
    serde_json::to_string(dead).expect("it has text for keys")
}

pub(crate) fn read_dead(text: &str) -> Option<DeadLetter> {
    serde_json::from_str(text).ok()
}
