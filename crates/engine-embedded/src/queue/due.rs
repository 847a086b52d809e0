//! What time does by itself, a step at a time.

use rusqlite::{Connection, OptionalExtension};

use super::Queues;
use super::declare::range;
use super::row::{self, run};
use super::store::{Timer, clear_timer, first_member, forget_delivery};
use super::tables::place;
use crate::moment::{Moment, later};

/// What of a queue goes off at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    /// It may be empty, and nobody uses it.
    Abandoned,
    /// The window of its oldest settlement is over.
    Settlements,
    /// The window of its oldest id is over.
    Ids,
}

impl Queues {
    /// When there is something to do.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        if !self.removed.is_empty() {
            return Some(0);
        }
        let lease = self.lease_ends.first().map(|(at, ..)| *at);
        let alarm = self.alarms.first().map(|(at, ..)| *at);
        self.next_timer.into_iter().chain(lease).chain(alarm).min()
    }

    /// Does what is due, up to a step of it.
    pub(crate) fn run_due(&mut self, connection: &Connection, now: Moment) -> rusqlite::Result<()> {
        self.tell_time(now);
        let mut left = self.limits.step;
        while left > 0 {
            let timer = self.next_timer.filter(|at| *at <= now);
            let lease = self.lease_ends.first().filter(|(at, ..)| *at <= now).copied();
            if timer.is_none() && lease.is_none() {
                break;
            }
            left -= 1;
            match lease {
                Some((at, number, position)) if timer.is_none_or(|timer| at <= timer) => {
                    self.lease_ends.remove(&(at, number, position));
                    self.end_lease(connection, number, position, now)?;
                }
                _ => self.run_timer(connection, now)?,
            }
        }
        while let Some((at, number, alarm)) = self.alarms.first().copied().filter(|(at, ..)| *at <= now) {
            if left == 0 {
                return Ok(());
            }
            self.alarms.remove(&(at, number, alarm));
            let done = match alarm {
                Alarm::Abandoned => self.remove_if_abandoned(connection, number, now).map(|()| 1)?,
                Alarm::Settlements => self.forget_settlements(connection, number, left, now)?,
                Alarm::Ids => self.forget_ids(connection, number, left, now)?,
            };
            left = left.saturating_sub(done.max(1));
        }
        if let Some(number) = self.removed.first().copied().filter(|_| left > 0) {
            self.clear(connection, number, left)?;
        }
        Ok(())
    }

    /// Does what the first of the timers is for.
    fn run_timer(&mut self, connection: &Connection, now: Moment) -> rusqlite::Result<()> {
        let sql = "SELECT at, id, kind FROM message_timer ORDER BY at, id, kind LIMIT 1";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let first: Option<(Moment, i64, i64)> =
            connection.prepare_cached(sql)?.query_row([], read).optional()?;
        self.next_timer = first.map(|(at, ..)| at);
        let Some((at, key, kind)) = first.filter(|(at, ..)| *at <= now) else { return Ok(()) };
        let timer = if kind == Timer::Due as i64 { Timer::Due } else { Timer::End };
        clear_timer(connection, at, key, timer)?;
        self.next_timer = first_timer(connection)?;
        let (number, position) = place(key);
        let held = match self.queues.get(&number) {
            Some(queue) => queue.held.contains_key(&position),
            None => return Ok(()),
        };
        let Some(row) = row::read(connection, number, position)?.filter(|_| !held) else { return Ok(()) };
        match timer {
            Timer::Due => {
                let counters = &mut self.at_mut(number).counters;
                counters.delayed -= 1;
                counters.ready += 1;
                let is_behind = match &row.member {
                    Some(member) => first_member(connection, number, member)? != Some(position),
                    None => false,
                };
                self.line_up(connection, &row, is_behind)
            }
            Timer::End => self.expire(connection, &row, now),
        }
    }

    fn forget_settlements(
        &mut self,
        connection: &Connection,
        number: i64,
        most: usize,
        now: Moment,
    ) -> rusqlite::Result<usize> {
        let Some(queue) = self.queues.get_mut(&number) else { return Ok(0) };
        let window = queue.spec.settlement_window;
        let mut forgotten = 0;
        while let Some((at, delivery)) = queue.settled.front().copied() {
            let ends = later(at, window);
            if ends > now || forgotten == most {
                self.alarms.insert((ends, number, Alarm::Settlements));
                break;
            }
            forget_delivery(connection, number, delivery)?;
            queue.settled.pop_front();
            forgotten += 1;
        }
        Ok(forgotten)
    }

    fn forget_ids(
        &mut self,
        connection: &Connection,
        number: i64,
        most: usize,
        now: Moment,
    ) -> rusqlite::Result<usize> {
        let Some(queue) = self.queues.get_mut(&number) else { return Ok(0) };
        let window = queue.spec.deduplication_window.unwrap_or_default();
        let (first, last) = range(number);
        let sql = "SELECT id, at FROM message_seen WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3";
        let mut statement = connection.prepare_cached(sql)?;
        let seen: Vec<(i64, Moment)> = statement
            .query_map([first, last, most as i64], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let over = seen.iter().take_while(|(_, at)| later(*at, window) <= now);
        let mut forgotten = 0;
        for (id, _) in over {
            run(connection, "DELETE FROM message_seen WHERE id = ?1", [id])?;
            forgotten += 1;
        }
        let next = first_id(connection, number)?;
        queue.has_ids = next.is_some();
        self.alarms.extend(next.map(|at| (later(at, window), number, Alarm::Ids)));
        Ok(forgotten)
    }

    /// Removes rows of a queue that is gone.
    fn clear(&mut self, connection: &Connection, number: i64, most: usize) -> rusqlite::Result<()> {
        let (first, last) = range(number);
        let most = most as i64;
        let sql = "SELECT id, due, ends FROM message WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3";
        let mut statement = connection.prepare_cached(sql)?;
        let messages: Vec<(i64, Moment, Option<Moment>)> = statement
            .query_map([first, last, most], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        for (id, due, ends) in &messages {
            clear_timer(connection, *due, *id, Timer::Due)?;
            if let Some(ends) = ends {
                clear_timer(connection, *ends, *id, Timer::End)?;
            }
            run(connection, "DELETE FROM message WHERE id = ?1", [id])?;
        }
        let mut left = messages.len();
        for (sql, values) in [
            (
                "DELETE FROM message_lease WHERE id IN
                 (SELECT id FROM message_lease WHERE id BETWEEN ?1 AND ?2 LIMIT ?3)",
                [first, last, most],
            ),
            (
                "DELETE FROM message_seen WHERE id IN
                 (SELECT id FROM message_seen WHERE id BETWEEN ?1 AND ?2 LIMIT ?3)",
                [first, last, most],
            ),
            (
                "DELETE FROM message_ready WHERE (queue, lane, position) IN
                 (SELECT queue, lane, position FROM message_ready WHERE queue BETWEEN ?1 AND ?2 LIMIT ?3)",
                [number, number, most],
            ),
            (
                "DELETE FROM message_waits WHERE (queue, due, position) IN
                 (SELECT queue, due, position FROM message_waits WHERE queue BETWEEN ?1 AND ?2 LIMIT ?3)",
                [number, number, most],
            ),
            (
                "DELETE FROM message_member WHERE (queue, member, position) IN
                 (SELECT queue, member, position FROM message_member WHERE queue BETWEEN ?1 AND ?2 LIMIT ?3)",
                [number, number, most],
            ),
        ] {
            left += run(connection, sql, values)?;
        }
        if left == 0 {
            run(connection, "DELETE FROM queue_removed WHERE number = ?1", [number])?;
            self.removed.remove(&number);
        }
        Ok(())
    }
}

pub(super) fn first_timer(connection: &Connection) -> rusqlite::Result<Option<Moment>> {
    let sql = "SELECT at FROM message_timer ORDER BY at LIMIT 1";
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()
}

/// When the oldest id came that is remembered.
pub(super) fn first_id(connection: &Connection, number: i64) -> rusqlite::Result<Option<Moment>> {
    let (first, last) = range(number);
    let sql = "SELECT at FROM message_seen WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT 1";
    connection.prepare_cached(sql)?.query_row([first, last], |row| row.get(0)).optional()
}
