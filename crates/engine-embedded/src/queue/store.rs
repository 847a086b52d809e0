//! How messages come, wait and go.

use intertie_messaging::queue::DeadLetter;
use rusqlite::{Connection, OptionalExtension, params};

use super::dead::{dead_text, expired};
use super::lanes::LaneId;
use super::one::Held;
use super::row::{self, Row, run};
use super::tables::{is_place, key};
use super::{Alarm, Queues};
use crate::damage::Damage;
use crate::moment::Moment;

/// A moment of `message_timer`, as it stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    Due = 0,
    End = 1,
}

/// A message that comes into a queue.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    pub(super) content: &'a [u8],
    pub(super) priority: u8,
    pub(super) due: Moment,
    pub(super) expires: Option<Moment>,
    pub(super) member: Option<Box<str>>,
    pub(super) dead: Option<&'a DeadLetter>,
}

impl Queues {
    /// Puts a message at the end of a queue, stored `at` the earliest; its position.
    pub(super) fn put(
        &mut self,
        connection: &Connection,
        number: i64,
        incoming: Incoming<'_>,
        at: Moment,
        now: Moment,
    ) -> rusqlite::Result<u64> {
        let key_bytes = self.limits.key_bytes;
        let queue = self.at_mut(number);
        let counters = &mut queue.counters;
        let position = counters.next;
        assert!(is_place(position), "queue {number} has had all of its positions");
        counters.next += 1;
        counters.used = counters.used.max(at);
        // What died a while ago is stored now: among messages that have waited since they were stored, the
        // first is the oldest.
        let stored = at.max(counters.latest);
        counters.latest = stored;
        let bytes = incoming.content.len() as u64;
        counters.bytes += bytes;
        let due = incoming.due.max(stored);
        let row = Row {
            number,
            position,
            stored,
            priority: incoming.priority,
            deliveries: 0,
            due,
            first_due: due,
            expires: incoming.expires,
            ends: queue.end(incoming.expires, due, due),
            // What died elsewhere may have a longer one than is taken from senders; it waits for nobody.
            member: incoming.member.filter(|member| queue.spec.groups && member.len() <= key_bytes),
            dead: incoming.dead.map(dead_text),
            bytes,
        };
        row::insert(connection, &row, incoming.content)?;
        let mut is_behind = false;
        if let Some(member) = &row.member {
            is_behind = first_member(connection, number, member)?.is_some();
            let sql = "INSERT INTO message_member VALUES (?1, ?2, ?3)";
            run(connection, sql, params![number, member, position.cast_signed()])?;
        }
        self.wait(connection, &row, is_behind, now)?;
        Ok(position)
    }

    /// Lets a message that nobody holds wait: for its moment, or to be delivered.
    fn wait(
        &mut self,
        connection: &Connection,
        row: &Row,
        is_behind: bool,
        now: Moment,
    ) -> rusqlite::Result<()> {
        if let Some(ends) = row.ends {
            self.set_timer(connection, ends, row.key(), Timer::End)?;
        }
        if row.due > now {
            self.at_mut(row.number).counters.delayed += 1;
            return self.set_timer(connection, row.due, row.key(), Timer::Due);
        }
        self.at_mut(row.number).counters.ready += 1;
        self.line_up(connection, row, is_behind)
    }

    /// Lets a message that is due wait where it will be found.
    pub(super) fn line_up(
        &mut self,
        connection: &Connection,
        row: &Row,
        is_behind: bool,
    ) -> rusqlite::Result<()> {
        if is_behind || !row.is_fresh() {
            let sql = "INSERT INTO message_waits VALUES (?1, ?2, ?3)";
            run(connection, sql, [row.number, row.due, row.position.cast_signed()])?;
        }
        if is_behind {
            return Ok(());
        }
        let lane = LaneId::of(row.priority, row.is_fresh());
        let sql = "INSERT INTO message_ready VALUES (?1, ?2, ?3)";
        run(connection, sql, [row.number, lane.number().into(), row.position.cast_signed()])?;
        let queue = self.at_mut(row.number);
        queue.lanes.insert(lane, row.position);
        let name = queue.name.clone();
        self.wakes.one(&name);
        Ok(())
    }

    /// Takes a message that stands at the head of its lane out of it, because it is delivered or dies.
    pub(super) fn step_out(
        &mut self,
        connection: &Connection,
        lane: LaneId,
        row: &Row,
    ) -> rusqlite::Result<()> {
        let sql = "DELETE FROM message_ready WHERE queue = ?1 AND lane = ?2 AND position = ?3";
        run(connection, sql, [row.number, lane.number().into(), row.position.cast_signed()])?;
        let queue = self.at_mut(row.number);
        queue.lanes.remove(lane, row.position);
        queue.counters.ready -= 1;
        if !lane.is_fresh() {
            wait_no_more(connection, row)?;
        }
        Ok(())
    }

    /// Removes a message that nobody holds, wherever it waits.
    pub(super) fn take_out(
        &mut self,
        connection: &Connection,
        row: &Row,
        now: Moment,
    ) -> rusqlite::Result<()> {
        if clear_timer(connection, row.due, row.key(), Timer::Due)? {
            self.at_mut(row.number).counters.delayed -= 1;
        } else {
            let lane = LaneId::of(row.priority, row.is_fresh());
            let sql = "DELETE FROM message_ready WHERE queue = ?1 AND lane = ?2 AND position = ?3";
            run(connection, sql, [row.number, lane.number().into(), row.position.cast_signed()])?;
            wait_no_more(connection, row)?;
            let queue = self.at_mut(row.number);
            queue.lanes.remove(lane, row.position);
            queue.counters.ready -= 1;
        }
        self.remove(connection, row, now)
    }

    /// Removes a message that waits nowhere, and lets the next of its group wait to be delivered.
    pub(super) fn remove(&mut self, connection: &Connection, row: &Row, now: Moment) -> rusqlite::Result<()> {
        run(connection, "DELETE FROM message WHERE id = ?1", [row.key()])?;
        if let Some(ends) = row.ends {
            clear_timer(connection, ends, row.key(), Timer::End)?;
        }
        self.at_mut(row.number).counters.bytes -= row.bytes;
        if let Some(member) = &row.member {
            let was_first = first_member(connection, row.number, member)? == Some(row.position);
            let sql = "DELETE FROM message_member WHERE queue = ?1 AND member = ?2 AND position = ?3";
            run(connection, sql, params![row.number, member, row.position.cast_signed()])?;
            if was_first {
                self.promote(connection, row.number, member)?;
            }
        }
        self.if_empty(row.number, now);
        Ok(())
    }

    /// Lets the first message of a group be delivered, if its moment has come. Else that does.
    fn promote(&mut self, connection: &Connection, number: i64, member: &str) -> rusqlite::Result<()> {
        let Some(position) = first_member(connection, number, member)? else { return Ok(()) };
        let Some(row) = row::read(connection, number, position)? else { return Ok(()) };
        if wait_no_more(connection, &row)? {
            self.line_up(connection, &row, false)?;
        }
        Ok(())
    }

    /// Lets a message that was held wait again, as one that was delivered so often and is due then.
    pub(super) fn give_back(
        &mut self,
        connection: &Connection,
        row: Row,
        now: Moment,
    ) -> rusqlite::Result<()> {
        let old = row.ends;
        let ends = self.at(row.number).end(row.expires, row.due, row.first_due);
        let row = Row { ends, ..row };
        if let Some(old) = old.filter(|_| old != ends) {
            clear_timer(connection, old, row.key(), Timer::End)?;
        }
        if ends.is_some_and(|ends| ends <= now) {
            let Some((content, dead)) = row::content_and_dead(connection, row.key())? else {
                return self.lose(connection, &row, now);
            };
            let row = Row { dead, ..row };
            self.remove(connection, &row, now)?;
            return self.bury(connection, &row, &content, expired(&row), now);
        }
        let sql = "UPDATE message SET deliveries = ?2, due = ?3, ends = ?4 WHERE id = ?1";
        run(connection, sql, params![row.key(), row.deliveries, row.due, row.ends])?;
        self.wait(connection, &row, false, now)
    }

    /// Takes a message that can not be read, and waits to be delivered or to die, out of the way of the others. What
    /// there is of it stays.
    pub(super) fn set_aside(
        &mut self,
        connection: &Connection,
        number: i64,
        lane: LaneId,
        position: u64,
    ) -> rusqlite::Result<()> {
        let place = [number, position.cast_signed()];
        let sql = "DELETE FROM message_ready WHERE queue = ?1 AND lane = ?2 AND position = ?3";
        run(connection, sql, [number, lane.number().into(), position.cast_signed()])?;
        run(connection, "DELETE FROM message_waits WHERE queue = ?1 AND position = ?2", place)?;
        let queue = self.at_mut(number);
        queue.lanes.remove(lane, position);
        queue.counters.ready = queue.counters.ready.saturating_sub(1);
        let sql = "SELECT member FROM message_member WHERE queue = ?1 AND position = ?2";
        let member: Option<String> = row::readable(connection.query_row(sql, place, |row| row.get(0)))?;
        if let Some(member) = member {
            run(connection, "DELETE FROM message_member WHERE queue = ?1 AND position = ?2", place)?;
            self.promote(connection, number, &member)?;
        }
        self.tell_of_damage(number, position);
        Ok(())
    }

    /// Forgets a message that was held and of which nothing is there any more that could be read.
    pub(super) fn lose(&mut self, connection: &Connection, row: &Row, now: Moment) -> rusqlite::Result<()> {
        self.tell_of_damage(row.number, row.position);
        self.remove(connection, row, now)
    }

    pub(super) fn tell_of_damage(&self, number: i64, position: u64) {
        let queue = self.at(number).name.to_string();
        let problem = "it is not there, or its columns are none of this program's".to_owned();
        self.damages.tell(Damage { queue, position: Some(position), problem });
    }

    /// Has the next moment looked at.
    fn set_timer(
        &mut self,
        connection: &Connection,
        at: Moment,
        key: i64,
        timer: Timer,
    ) -> rusqlite::Result<()> {
        // One that came while its message was held is gone, one that did not is still there.
        let sql = "INSERT OR IGNORE INTO message_timer VALUES (?1, ?2, ?3)";
        run(connection, sql, [at, key, timer as i64])?;
        self.next_timer = Some(self.next_timer.map_or(at, |next| next.min(at)));
        Ok(())
    }

    /// Notes a queue that may have to go, now that it is empty.
    pub(super) fn if_empty(&mut self, number: i64, now: Moment) {
        let queue = self.at(number);
        if queue.len() == 0 {
            let at = match queue.dead_letters {
                None => Some(now),
                Some(_) => queue.abandoned_at(),
            };
            at.into_iter().for_each(|at| self.watch(number, at));
        }
    }

    /// Has a queue looked at then that may have to go. One alarm for it is enough, however often it becomes empty.
    pub(super) fn watch(&mut self, number: i64, at: Moment) {
        let Some(queue) = self.queues.get_mut(&number) else { return };
        if queue.watched.is_none_or(|before| at < before) {
            if let Some(before) = queue.watched.replace(at) {
                self.alarms.remove(&(before, number, Alarm::Abandoned));
            }
            self.alarms.insert((at, number, Alarm::Abandoned));
        }
    }
}

impl Held {
    /// The message that was held, as one that is due then.
    pub(super) fn row(self, number: i64, position: u64, due: Moment) -> Row {
        Row {
            number,
            position,
            stored: self.stored,
            priority: self.priority,
            deliveries: self.deliveries,
            due,
            first_due: self.first_due,
            expires: self.expires,
            ends: self.ends,
            member: self.member,
            dead: None,
            bytes: self.bytes,
        }
    }
}

/// Whether it was set.
pub(super) fn clear_timer(
    connection: &Connection,
    at: Moment,
    key: i64,
    timer: Timer,
) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM message_timer WHERE at = ?1 AND id = ?2 AND kind = ?3";
    Ok(run(connection, sql, [at, key, timer as i64])? == 1)
}

/// Whether it did wait there.
fn wait_no_more(connection: &Connection, row: &Row) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM message_waits WHERE queue = ?1 AND due = ?2 AND position = ?3";
    Ok(run(connection, sql, [row.number, row.due, row.position.cast_signed()])? == 1)
}

pub(super) fn first_member(
    connection: &Connection,
    number: i64,
    member: &str,
) -> rusqlite::Result<Option<u64>> {
    let sql =
        "SELECT position FROM message_member WHERE queue = ?1 AND member = ?2 ORDER BY position LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let position: Option<i64> = statement.query_row(params![number, member], |row| row.get(0)).optional()?;
    Ok(position.map(i64::cast_unsigned))
}

/// Forgets a delivery.
pub(super) fn forget_delivery(connection: &Connection, number: i64, delivery: u64) -> rusqlite::Result<()> {
    run(connection, "DELETE FROM message_lease WHERE id = ?1", [key(number, delivery)]).map(|_| ())
}
