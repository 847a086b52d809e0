//! Leases: how they end.

use std::num::NonZeroU32;
use std::time::Duration;

use intertie_messaging::Name;
use intertie_messaging::queue::{Cause, DeadLetter, LeaseToken, Settlement};
use ring::digest::{SHA256, digest};
use rusqlite::{Connection, OptionalExtension, params};

use super::dead::Death;
use super::one::{Held, Queue};
use super::row::{self, Row, run};
use super::store::forget_delivery;
use super::tables::{is_place, key};
use super::{Alarm, Queues};
use crate::moment::{Moment, later};

/// What a lease is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Live,
    /// It was ended in just this way.
    SettledSo,
    Stale,
}

impl Queues {
    pub(super) fn standing(
        &self,
        connection: &Connection,
        number: i64,
        token: LeaseToken,
        settlement: &Settlement,
        now: Moment,
    ) -> rusqlite::Result<Standing> {
        let queue = self.at(number);
        if queue.live(token, now).is_some() {
            return Ok(Standing::Live);
        }
        if !is_place(token.delivery) || !is_place(token.position) {
            return Ok(Standing::Stale);
        }
        let sql = "SELECT until FROM message_lease WHERE id = ?1 AND position = ?2 AND secret = ?3 AND settlement = ?4";
        let mut statement = connection.prepare_cached(sql)?;
        let (position, secret) = (token.position.cast_signed(), token.secret.cast_signed());
        let values = params![key(number, token.delivery), position, secret, written(settlement)];
        let settled: Option<Moment> = statement.query_row(values, |row| row.get(0)).optional()?;
        let is_remembered = settled.is_some_and(|at| now < later(at, queue.spec.settlement_window));
        Ok(if is_remembered { Standing::SettledSo } else { Standing::Stale })
    }

    /// Ends a live lease.
    pub(super) fn settle(
        &mut self,
        connection: &Connection,
        number: i64,
        token: LeaseToken,
        settlement: &Settlement,
        now: Moment,
    ) -> rusqlite::Result<()> {
        let queue = self.at_mut(number);
        let Some(held) = queue.let_go(token.position) else { return Ok(()) };
        queue.counters.used = queue.counters.used.max(now);
        self.lease_ends.remove(&(held.until, number, token.position));
        self.remember(connection, number, token.delivery, settlement, now)?;
        let row = held.row(number, token.position, now);
        let queue = self.at(number);
        let death = |cause, reason| Death { cause, reason, at: now, deliveries: row.deliveries };
        match settlement {
            Settlement::Ack => self.remove(connection, &row, now)?,
            Settlement::Release => {
                let deliveries = row.deliveries - 1;
                self.give_back(connection, Row { deliveries, ..row }, now)?;
            }
            Settlement::Retry { .. } if queue.is_last(row.deliveries) => {
                let death = death(Cause::MaxDeliveries, None);
                self.die(connection, row, death, now)?;
            }
            Settlement::Retry { after } => {
                let wait = after.unwrap_or_else(|| redelivery(queue, &row, token.secret));
                self.give_back(connection, Row { due: later(now, wait), ..row }, now)?;
            }
            Settlement::DeadLetter { cause, reason } => {
                let death = death(*cause, Some(DeadLetter::kept_reason(reason.clone())));
                self.die(connection, row, death, now)?;
            }
        }
        self.tell_of_room(number);
        Ok(())
    }

    /// Ends a lease that nobody settled in time.
    pub(super) fn end_lease(
        &mut self,
        connection: &Connection,
        number: i64,
        position: u64,
        now: Moment,
    ) -> rusqlite::Result<()> {
        let Some(held) = self.at_mut(number).let_go(position) else { return Ok(()) };
        forget_delivery(connection, number, held.delivery)?;
        let (until, secret) = (held.until, held.secret);
        let row = held.row(number, position, until);
        let queue = self.at(number);
        if queue.is_last(row.deliveries) {
            let (cause, deliveries) = (Cause::MaxDeliveries, row.deliveries);
            self.die(connection, row, Death { cause, reason: None, at: until, deliveries }, now)?;
        } else {
            let due = later(until, redelivery(queue, &row, secret));
            self.give_back(connection, Row { due, ..row }, now)?;
        }
        self.tell_of_room(number);
        Ok(())
    }

    /// Takes back deliveries that nobody has heard of.
    pub(crate) fn release(
        &mut self,
        connection: &Connection,
        name: &Name,
        tokens: &[LeaseToken],
        now: Moment,
    ) -> rusqlite::Result<()> {
        let Ok(number) = self.number(name) else { return Ok(()) };
        for token in tokens {
            if self.at(number).live(*token, now).is_some() {
                self.settle(connection, number, *token, &Settlement::Release, now)?;
            }
        }
        Ok(())
    }

    /// The bytes of a message that moves, as far as is known before, when it is settled so.
    pub(super) fn moves(&self, number: i64, held: &Held, settlement: &Settlement) -> u64 {
        let queue = self.at(number);
        let may_end = held.ends.is_some() || queue.spec.ttl.is_some();
        let moves = match settlement {
            Settlement::Ack => false,
            Settlement::DeadLetter { .. } => true,
            Settlement::Release => may_end,
            Settlement::Retry { .. } => may_end || queue.is_last(held.deliveries),
        };
        if moves { held.bytes } else { 0 }
    }

    fn die(&mut self, connection: &Connection, row: Row, death: Death, now: Moment) -> rusqlite::Result<()> {
        let Some((content, dead)) = row::content_and_dead(connection, row.key())? else {
            return self.lose(connection, &row, now);
        };
        let row = Row { dead, ..row };
        self.remove(connection, &row, now)?;
        self.bury(connection, &row, &content, death, now)
    }

    fn remember(
        &mut self,
        connection: &Connection,
        number: i64,
        delivery: u64,
        settlement: &Settlement,
        now: Moment,
    ) -> rusqlite::Result<()> {
        let spec = &self.at(number).spec;
        let (window, most) = (spec.settlement_window, spec.settlements_max.get() as usize);
        if window.is_zero() {
            return forget_delivery(connection, number, delivery);
        }
        let sql = "UPDATE message_lease SET until = ?2, settlement = ?3 WHERE id = ?1";
        run(connection, sql, params![key(number, delivery), now, written(settlement)])?;
        if self.at(number).settled.is_empty() {
            self.alarms.insert((later(now, window), number, Alarm::Settlements));
        }
        let settled = &mut self.at_mut(number).settled;
        settled.push_back((now, delivery));
        let oldest = if settled.len() > most { settled.pop_front() } else { None };
        oldest.map_or(Ok(()), |(_, oldest)| forget_delivery(connection, number, oldest))
    }

    /// Has those who wait look again who could not while all leases were out.
    fn tell_of_room(&mut self, number: i64) {
        let queue = self.at(number);
        if !queue.lanes.is_empty() {
            let name = queue.name.clone();
            self.wakes.one(&name);
        }
    }
}

/// The wait before the next delivery. Its random part is that of the lease, of which nobody has any use from
/// now on: the same command gives the same wait wherever it is applied.
fn redelivery(queue: &Queue, row: &Row, secret: u64) -> Duration {
    let deliveries = row.deliveries.try_into().unwrap_or(NonZeroU32::MIN);
    queue.spec.redelivery.wait(deliveries, (secret >> 32) as u32)
}

/// A settlement as it is remembered: in bytes that are the same when it is.
///
/// Of a reason its hash is enough to know it again: a reason may be as large as a group, and a hundred thousand of them
/// are remembered.
fn written(settlement: &Settlement) -> Vec<u8> {
    match settlement {
        Settlement::Ack => b"a".to_vec(),
        Settlement::Release => b"l".to_vec(),
        Settlement::Retry { after: None } => b"r".to_vec(),
        Settlement::Retry { after: Some(after) } => format!("r{}", after.as_nanos()).into_bytes(),
        Settlement::DeadLetter { cause, reason } => {
            let reason = digest(&SHA256, reason.as_bytes());
            [b"d", cause.name().as_bytes(), b" ", reason.as_ref()].concat()
        }
    }
}
