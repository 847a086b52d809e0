//! What time does by itself, a step at a time.

use rusqlite::{Connection, OptionalExtension, params};

use super::Queues;
use super::declare::range;
use super::row::{self, run};
use super::store::{Timer, clear_timer, first_member, forget_delivery};
use super::tables::{POSITIONS, place};
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
        let before = std::mem::take(&mut self.moved);
        while left > 0 && self.moved <= self.limits.bytes {
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
        self.moved = before;
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
        let first = self.first_timer(connection)?;
        self.next_timer = first.map(|(at, ..)| at);
        let Some((at, key, kind)) = first.filter(|(at, ..)| *at <= now) else { return Ok(()) };
        let timer = if kind == Timer::Due as i64 { Timer::Due } else { Timer::End };
        clear_timer(connection, at, key, timer)?;
        self.find_next_timer(connection)?;
        let (number, position) = place(key);
        if self.queues.get(&number).is_none_or(|queue| queue.held.contains_key(&position)) {
            return Ok(());
        }
        let Some(row) = row::read(connection, number, position)? else {
            let counters = &mut self.at_mut(number).counters;
            counters.delayed = counters.delayed.saturating_sub(u64::from(timer == Timer::Due));
            self.tell_of_damage(number, position);
            return Ok(());
        };
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

    /// The first of the timers. Those of a queue that can not be read are for whoever can.
    fn first_timer(&self, connection: &Connection) -> rusqlite::Result<Option<(Moment, i64, i64)>> {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        if self.shut.is_empty() {
            let sql = "SELECT at, id, kind FROM message_timer ORDER BY at, id, kind LIMIT 1";
            return connection.prepare_cached(sql)?.query_row([], read).optional();
        }
        let sql =
            "SELECT at, id, kind FROM message_timer WHERE id >> ?2 NOT IN (SELECT value FROM json_each(?1))
                   ORDER BY at, id, kind LIMIT 1";
        let shut = serde_json::to_string(&self.shut.keys().collect::<Vec<_>>()).expect("they are numbers");
        connection.prepare_cached(sql)?.query_row(params![shut, POSITIONS], read).optional()
    }

    /// Notes when the first of the timers goes off.
    pub(super) fn find_next_timer(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.next_timer = self.first_timer(connection)?.map(|(at, ..)| at);
        Ok(())
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
        let sql = "DELETE FROM message_seen WHERE id IN
                   (SELECT id FROM message_seen WHERE id BETWEEN ?1 AND ?2 LIMIT ?3)";
        let ids = run(connection, sql, [first, last, most])?;
        self.ids.forgot(ids);
        let mut left = messages.len() + ids;
        for (sql, values) in [
            (
                "DELETE FROM message_lease WHERE id IN
                 (SELECT id FROM message_lease WHERE id BETWEEN ?1 AND ?2 LIMIT ?3)",
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

/// When the oldest id came that is remembered.
pub(super) fn first_id(connection: &Connection, number: i64) -> rusqlite::Result<Option<Moment>> {
    let (first, last) = range(number);
    let sql = "SELECT at FROM message_seen WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT 1";
    connection.prepare_cached(sql)?.query_row([first, last], |row| row.get(0)).optional()
}
