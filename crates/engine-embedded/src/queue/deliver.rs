//! Leases: how they begin and last longer.

use std::time::Duration;

use intertie_core::clock::Timestamp;
use intertie_messaging::queue::{LeaseId, LeaseRequest, LeaseToken};
use intertie_messaging::{EngineError, Name};
use rusqlite::{Connection, params};

use super::Queues;
use super::lanes::LaneId;
use super::one::Held;
use super::row::{self, Row, run};
use super::tables::{PLACES_MAX, key};
use crate::moment::{Moment, later, timestamp};

/// A delivery on its way to its consumer, who reads what it says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Leased {
    pub(crate) token: LeaseToken,
    pub(crate) content: Vec<u8>,
    pub(crate) priority: u8,
    pub(crate) deliveries: u32,
    pub(crate) stored_at: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) dead: Option<String>,
}

/// What a consumer that got nothing is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Wait: there is nothing, or no room for anybody.
    Wait,
    /// Let others know: there is something, and it holds as much as one consumer may.
    PassOn,
    /// Ask again: there may be something behind what was looked at so far.
    AskAgain,
}

impl Queues {
    /// Whether messages may be leased so.
    pub(crate) fn check_lease(&self, request: &LeaseRequest, now: Moment) -> Result<(), EngineError> {
        let queue = self.at(self.number(&request.queue)?);
        if queue.counters.deliveries >= PLACES_MAX {
            return Err(EngineError::Limit { key: "deliveries", limit: PLACES_MAX.to_string() });
        }
        let time = request.visibility_timeout.unwrap_or(queue.spec.visibility_timeout);
        queue.check_lease(&request.consumer, time, now)
    }

    /// Leases what there is, each under `secret`, which nobody but the consumer will know. When that is nothing, what to
    /// do then.
    pub(crate) fn lease(
        &mut self,
        connection: &Connection,
        request: &LeaseRequest,
        secret: u64,
        now: Moment,
    ) -> rusqlite::Result<(Vec<Leased>, Then)> {
        let Ok(number) = self.number(&request.queue) else { return Ok((Vec::new(), Then::Wait)) };
        let queue = self.queues.get_mut(&number).expect("its number was just found");
        queue.asked = Some((request.consumer.clone(), now));
        queue.counters.used = queue.counters.used.max(now);
        let (all, own) = queue.room(&request.consumer);
        if all == 0 || queue.lanes.is_empty() {
            return Ok((Vec::new(), Then::Wait));
        }
        if own == 0 {
            return Ok((Vec::new(), Then::PassOn));
        }
        let most = all.min(own).min(request.most.get()) as usize;
        let time = request.visibility_timeout.unwrap_or(queue.spec.visibility_timeout);
        let until = later(now, time);
        let (mut leased, mut bytes, mut others) = (Vec::new(), 0, 0);
        while leased.len() < most {
            let Some((lane, position)) = self.first(connection, number)? else { break };
            if others == self.limits.step {
                return Ok((leased, Then::AskAgain));
            }
            let Some((row, content)) = row::read_whole(connection, number, position)? else {
                self.set_aside(connection, number, lane, position)?;
                others += 1;
                continue;
            };
            if row.ends.is_some_and(|ends| ends <= now) {
                if self.moved > self.limits.bytes {
                    return Ok((leased, Then::AskAgain));
                }
                self.expire(connection, &row, now)?;
                others += 1;
                continue;
            }
            bytes += row.bytes;
            if bytes > request.bytes_max.bytes() && !leased.is_empty() {
                break;
            }
            if self.delivered > 0 && self.delivered + row.bytes > self.limits.bytes {
                return Ok((leased, Then::AskAgain));
            }
            self.delivered += row.bytes;
            self.step_out(connection, lane, &row)?;
            let held = self.begin(connection, &row, request, secret, until)?;
            leased.push(Leased {
                token: LeaseToken { position, delivery: held.delivery, secret },
                content,
                priority: row.priority,
                deliveries: held.deliveries,
                stored_at: timestamp(row.stored),
                until: timestamp(until),
                dead: row.dead,
            });
            self.lease_ends.insert((until, number, position));
            self.at_mut(number).hold(position, held);
        }
        Ok((leased, Then::Wait))
    }

    /// The message to be delivered next.
    fn first(&mut self, connection: &Connection, number: i64) -> rusqlite::Result<Option<(LaneId, u64)>> {
        let queue = self.queues.get_mut(&number).expect("its number was just found");
        queue.lanes.first(|lane, count| {
            let sql = "SELECT position FROM message_ready WHERE queue = ?1 AND lane = ?2 ORDER BY position LIMIT ?3";
            let mut statement = connection.prepare_cached(sql)?;
            let values = [number, lane.number().into(), count as i64];
            statement.query_map(values, |row| row.get(0).map(i64::cast_unsigned))?.collect()
        })
    }

    /// Writes down that a message is delivered.
    fn begin(
        &mut self,
        connection: &Connection,
        row: &Row,
        request: &LeaseRequest,
        secret: u64,
        until: Moment,
    ) -> rusqlite::Result<Held> {
        let counters = &mut self.at_mut(row.number).counters;
        let delivery = counters.deliveries;
        counters.deliveries += 1;
        let sql = "INSERT INTO message_lease VALUES (?1, ?2, ?3, ?4, ?5, NULL)";
        let consumer = request.consumer.as_str();
        let (position, secret_) = (row.position.cast_signed(), secret.cast_signed());
        run(connection, sql, params![key(row.number, delivery), position, secret_, until, consumer])?;
        Ok(Held {
            delivery,
            secret,
            until,
            consumer: request.consumer.clone(),
            deliveries: row.deliveries.saturating_add(1),
            stored: row.stored,
            priority: row.priority,
            first_due: row.first_due,
            expires: row.expires,
            ends: row.ends,
            member: row.member.clone(),
            bytes: row.bytes,
        })
    }

    /// Whether a lease can be given another time.
    pub(crate) fn check_extend(
        &self,
        name: &Name,
        lease: &LeaseId,
        time: Duration,
        now: Moment,
    ) -> Result<(), EngineError> {
        let queue = self.at(self.number(name)?);
        let token: LeaseToken = lease.as_str().parse()?;
        queue.live(token, now).ok_or(EngineError::StaleLease)?;
        queue.check_time(time)
    }

    /// Gives a lease `time` from now on; its end.
    pub(crate) fn extend(
        &mut self,
        connection: &Connection,
        name: &Name,
        lease: &LeaseId,
        time: Duration,
        now: Moment,
    ) -> rusqlite::Result<Timestamp> {
        let until = later(now, time);
        if let (Ok(number), Some(token)) = (self.number(name), super::change::token(lease)) {
            let sql = "UPDATE message_lease SET until = ?2 WHERE id = ?1";
            run(connection, sql, [key(number, token.delivery), until])?;
            if let Some(held) = self.at_mut(number).held.get_mut(&token.position) {
                let before = std::mem::replace(&mut held.until, until);
                self.lease_ends.remove(&(before, number, token.position));
                self.lease_ends.insert((until, number, token.position));
            }
        }
        Ok(timestamp(until))
    }
}
