//! One queue, as far as it is in memory.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::quantity::format_duration;
use intertie_messaging::queue::{LeaseToken, QueueSpec, TtlCounts};
use intertie_messaging::{EngineError, Name};

use super::lanes::Lanes;
use crate::moment::{Moment, later};

/// Its counters, the heads of what is ready, and the deliveries that go on.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: Name,
    pub(super) spec: QueueSpec,
    /// Where its dead go; unset for a queue of dead letters that came with another, whose dead stay.
    pub(super) dead_letters: Option<Name>,
    pub(super) counters: Counters,
    pub(super) lanes: Lanes,
    /// By position: a message has one delivery at a time.
    pub(super) held: BTreeMap<u64, Held>,
    /// How many each consumer holds.
    pub(super) holders: BTreeMap<Name, u32>,
    /// Settlements that are remembered: when they were done, and of which delivery. In this order.
    pub(super) settled: VecDeque<(Moment, u64)>,
    /// The consumer that asked last, and when.
    pub(super) asked: Option<(Name, Moment)>,
    /// Whether an alarm is set for the end of the window of its first id.
    pub(super) has_ids: bool,
    /// When it will be looked at whether it is to be removed.
    pub(super) watched: Option<Moment>,
    pub(super) is_dirty: bool,
}

/// What is written once for a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counters {
    /// The next position.
    pub(super) next: u64,
    /// Deliveries so far.
    pub(super) deliveries: u64,
    /// Messages that wait and are due, those behind others of their group included.
    pub(super) ready: u64,
    /// Messages that wait for their moment.
    pub(super) delayed: u64,
    /// Of all messages.
    pub(super) bytes: u64,
    /// When somebody used it last.
    pub(super) used: Moment,
    /// When something was stored last.
    pub(super) latest: Moment,
}

/// A delivery that goes on.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) delivery: u64,
    pub(super) secret: u64,
    pub(super) until: Moment,
    pub(super) consumer: Name,
    /// How often the message was delivered, this time included.
    pub(super) deliveries: u32,
    pub(super) stored: Moment,
    pub(super) priority: u8,
    pub(super) first_due: Moment,
    pub(super) expires: Option<Moment>,
    pub(super) ends: Option<Moment>,
    pub(super) member: Option<Box<str>>,
    pub(super) bytes: u64,
}

impl Queue {
    /// How many messages it has.
    pub(super) fn len(&self) -> u64 {
        self.counters.ready + self.counters.delayed + self.held.len() as u64
    }

    /// The delivery that `token` stands for, if it goes on.
    pub(super) fn live(&self, token: LeaseToken, now: Moment) -> Option<&Held> {
        self.held
            .get(&token.position)
            .filter(|held| (held.delivery, held.secret) == (token.delivery, token.secret) && now < held.until)
    }

    /// When a message dies that waits since `due`.
    pub(super) fn end(&self, expires: Option<Moment>, due: Moment, first_due: Moment) -> Option<Moment> {
        let begins = match self.spec.ttl_counts {
            TtlCounts::Wait => due,
            TtlCounts::Age => first_due,
        };
        let own = self.spec.ttl.map(|ttl| later(begins, ttl));
        expires.into_iter().chain(own).min()
    }

    /// Whether a message that was delivered so often may not be again.
    pub(super) fn is_last(&self, deliveries: u32) -> bool {
        self.dead_letters.is_some() && deliveries >= self.spec.max_deliveries.get()
    }

    /// Whether `consumer` may ask for messages for so long.
    pub(super) fn check_lease(
        &self,
        consumer: &Name,
        time: Duration,
        now: Moment,
    ) -> Result<(), EngineError> {
        if self.spec.exclusive {
            let asks = self.asked.iter().filter(|(_, at)| now < later(*at, self.spec.visibility_timeout));
            let mut holders = asks.map(|(name, _)| name).chain(self.holders.keys());
            if let Some(holder) = holders.find(|holder| *holder != consumer) {
                return Err(EngineError::Exclusive { holder: holder.clone() });
            }
        }
        self.check_time(time)
    }

    pub(super) fn check_time(&self, time: Duration) -> Result<(), EngineError> {
        let limit = self.spec.visibility_timeout_max;
        if time <= limit {
            return Ok(());
        }
        Err(EngineError::Limit { key: "visibility_timeout_max", limit: format_duration(limit) })
    }

    /// How many more messages all may hold, and how many of them `consumer` by its share.
    pub(super) fn room(&self, consumer: &Name) -> (u32, u32) {
        let all = self.spec.leases_max.get();
        let all = all.saturating_sub(u32::try_from(self.held.len()).unwrap_or(u32::MAX));
        let own = self.holders.get(consumer).copied().unwrap_or(0);
        let most = self.spec.leases_per_consumer_max.map_or(u32::MAX, NonZeroU32::get);
        (all, most.saturating_sub(own))
    }

    pub(super) fn hold(&mut self, position: u64, held: Held) {
        *self.holders.entry(held.consumer.clone()).or_default() += 1;
        self.held.insert(position, held);
    }

    pub(super) fn let_go(&mut self, position: u64) -> Option<Held> {
        let held = self.held.remove(&position)?;
        if let Some(count) = self.holders.get_mut(&held.consumer) {
            *count -= 1;
            if *count == 0 {
                self.holders.remove(&held.consumer);
            }
        }
        Some(held)
    }

    /// When it is to be removed if it stays empty and nobody uses it.
    pub(super) fn abandoned_at(&self) -> Option<Moment> {
        self.spec.auto_delete.map(|time| later(self.counters.used, time))
    }
}
