//! One queue: a list of messages, looked through from its beginning for whatever is asked.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::clock::{Timestamp, nanos};

use super::Bug;
use crate::message::{Content, Message};
use crate::queue::{
    Browse, Browsed, Cause, DeadLetter, Depth, Lease, LeaseId, LeaseRequest, Page, QueueSpec, Settlement,
};
use crate::{EngineError, Name};

/// `time` after `at`.
pub(super) fn after(at: Timestamp, time: Duration) -> Timestamp {
    Timestamp::from_unix_nanos(at.as_unix_nanos().saturating_add(nanos(time)))
}

#[derive(Debug, Clone)]
pub(super) struct Queue {
    pub(super) spec: QueueSpec,
    /// Where its dead go; unset for a queue of dead letters that came with another, whose dead stay.
    pub(super) dead_letters: Option<Name>,
    /// By position.
    entries: Vec<Entry>,
    next: u64,
    settled: Vec<Settled>,
    seen: Vec<Seen>,
    /// The consumer that asked last, and when.
    asked: Option<(Name, Timestamp)>,
    used: Timestamp,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) position: u64,
    pub(super) content: Content,
    pub(super) priority: u8,
    pub(super) deliveries: u32,
    stored_at: Timestamp,
    pub(super) due: Timestamp,
    dead_letter: Option<Box<DeadLetter>>,
    held: Option<Held>,
}

#[derive(Debug, Clone)]
struct Held {
    lease: u64,
    consumer: Name,
    until: Timestamp,
}

#[derive(Debug, Clone)]
struct Settled {
    lease: u64,
    settlement: Settlement,
    until: Timestamp,
}

#[derive(Debug, Clone)]
struct Seen {
    source: String,
    id: String,
    position: u64,
    at: Timestamp,
}

/// A message that has to leave its queue, and why.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) entry: Entry,
    pub(super) cause: Cause,
    pub(super) reason: Option<String>,
    pub(super) at: Timestamp,
}

/// What a lease is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Live,
    /// It was ended in just this way.
    SettledSo,
    Stale,
}

impl Entry {
    fn group(&self) -> Option<String> {
        match &self.content {
            Content::Envelope(envelope) => envelope.partition_key().map(Cow::into_owned),
            Content::Undecodable { .. } => None,
        }
    }

    /// When it has waited too long. The time runs from when it may be delivered; `expirytime` is a moment, and
    /// one that a dead message has outlived already.
    fn end(&self, ttl: Option<Duration>) -> Option<Timestamp> {
        let own = match &self.content {
            Content::Envelope(envelope) if self.dead_letter.is_none() => {
                envelope.expiry_time().ok().flatten().and_then(|time| time.timestamp())
            }
            _ => None,
        };
        let queues = ttl.map(|ttl| after(self.due, ttl));
        own.into_iter().chain(queues).min()
    }
}

impl Queue {
    pub(super) fn new(spec: QueueSpec, dead_letters: Option<Name>, now: Timestamp) -> Self {
        Self {
            spec,
            dead_letters,
            entries: Vec::new(),
            next: 0,
            settled: Vec::new(),
            seen: Vec::new(),
            asked: None,
            used: now,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The message that was sent with this id within the window.
    pub(super) fn duplicate_of(&self, message: &Message, now: Timestamp, bug: Option<Bug>) -> Option<u64> {
        let window = self.spec.deduplication_window?;
        let envelope = &message.envelope;
        let seen = self.seen.iter().find(|seen| {
            let end = after(seen.at, window);
            seen.id == envelope.id()
                && (seen.source == envelope.source() || bug == Some(Bug::IgnoreSource))
                && (now < end || (now == end && bug == Some(Bug::WindowTooLong)))
        });
        seen.map(|seen| seen.position)
    }

    pub(super) fn put(&mut self, message: &Message, now: Timestamp) -> u64 {
        let due = message.due.moment(now);
        let position =
            self.push(Content::Envelope(message.envelope.clone()), message.priority, now, due, None);
        if self.spec.deduplication_window.is_some() {
            let (source, id) = (message.envelope.source().to_owned(), message.envelope.id().to_owned());
            self.seen.push(Seen { source, id, position, at: now });
        }
        position
    }

    pub(super) fn push(
        &mut self,
        content: Content,
        priority: u8,
        now: Timestamp,
        due: Timestamp,
        dead_letter: Option<Box<DeadLetter>>,
    ) -> u64 {
        let position = self.next;
        self.next += 1;
        self.used = now;
        let stored_at = now;
        let (deliveries, held) = (0, None);
        self.entries.push(Entry {
            position,
            content,
            priority,
            deliveries,
            stored_at,
            due,
            dead_letter,
            held,
        });
        position
    }

    pub(super) fn drop_oldest(&mut self) {
        self.entries.remove(0);
    }

    pub(super) fn is_cancellable(&self, position: u64, bug: Option<Bug>) -> bool {
        let entry = self.entries.iter().find(|entry| entry.position == position);
        entry.is_some_and(|entry| entry.held.is_none() || bug == Some(Bug::CancelHeld))
    }

    pub(super) fn cancel(&mut self, position: u64) {
        self.entries.retain(|entry| entry.position != position);
    }

    /// Who has the queue to itself, as far as `consumer` is concerned.
    pub(super) fn holder(&self, consumer: &Name, now: Timestamp) -> Option<Name> {
        if !self.spec.exclusive {
            return None;
        }
        let asks = self.asked.iter().filter(|(_, at)| now < after(*at, self.spec.visibility_timeout));
        let holds = self.entries.iter().filter_map(|entry| entry.held.as_ref());
        let mut holders = asks.map(|(name, _)| name).chain(holds.map(|held| &held.consumer));
        holders.find(|holder| *holder != consumer).cloned()
    }

    pub(super) fn lease(
        &mut self,
        request: &LeaseRequest,
        now: Timestamp,
        leases: &mut u64,
        bug: Option<Bug>,
    ) -> Result<Vec<Lease>, EngineError> {
        if let Some(holder) = self.holder(&request.consumer, now) {
            return Err(EngineError::Exclusive { holder });
        }
        self.asked = Some((request.consumer.clone(), now));
        self.used = now;
        let until = after(now, request.visibility_timeout.unwrap_or(self.spec.visibility_timeout));
        let held = self.entries.iter().filter(|entry| entry.held.is_some()).count() as u64;
        let room = u64::from(self.spec.leases_max.get()).saturating_sub(held).min(request.most.get().into());
        let mut leased = Vec::new();
        for _ in 0..room {
            let Some(at) = self.next_ready(now, bug) else { break };
            *leases += 1;
            let entry = &mut self.entries[at];
            entry.deliveries += 1;
            entry.held = Some(Held { lease: *leases, consumer: request.consumer.clone(), until });
            leased.push(Lease {
                id: LeaseId::new(leases.to_string()),
                content: entry.content.clone(),
                position: entry.position,
                priority: entry.priority,
                deliveries: NonZeroU32::new(entry.deliveries).expect("it was just counted"),
                stored_at: entry.stored_at,
                until,
                dead_letter: entry.dead_letter.clone(),
            });
            if bug == Some(Bug::DeliverTwice) {
                self.entries[at].held = None;
            }
        }
        Ok(leased)
    }

    fn next_ready(&self, now: Timestamp, bug: Option<Bug>) -> Option<usize> {
        let ready = self.entries.iter().enumerate().filter(|(at, entry)| {
            entry.held.is_none() && entry.due <= now && !self.is_behind_its_group(*at, now, bug)
        });
        let reversed = bug == Some(Bug::PrioritiesReversed);
        let rank = |entry: &Entry| if reversed { u8::MAX - entry.priority } else { entry.priority };
        ready.min_by_key(|(at, entry)| (std::cmp::Reverse(rank(entry)), *at)).map(|(at, _)| at)
    }

    fn is_behind_its_group(&self, at: usize, now: Timestamp, bug: Option<Bug>) -> bool {
        let Some(group) = self.entries[at].group().filter(|_| self.spec.groups) else { return false };
        self.entries[..at].iter().any(|earlier| {
            let leapt = bug == Some(Bug::GroupLeapfrog) && earlier.due > now;
            !leapt && earlier.group().as_ref() == Some(&group)
        })
    }

    pub(super) fn standing(
        &self,
        lease: u64,
        settlement: Option<&Settlement>,
        now: Timestamp,
        bug: Option<Bug>,
    ) -> Standing {
        let mut held = self.entries.iter().filter_map(|entry| entry.held.as_ref());
        let late = bug == Some(Bug::TakeLateSettlement);
        if held.any(|held| held.lease == lease && (now < held.until || late)) {
            return Standing::Live;
        }
        let before = self.settled.iter().find(|settled| settled.lease == lease);
        match before {
            Some(settled) if Some(&settled.settlement) == settlement => Standing::SettledSo,
            _ => Standing::Stale,
        }
    }

    /// The lease under which the message of `lease` is held now, for [`Bug::NoFence`]: the latest one.
    pub(super) fn any_lease(&self) -> Option<u64> {
        self.entries.iter().filter_map(|entry| entry.held.as_ref()).map(|held| held.lease).max()
    }

    /// Ends a live lease. What dies of it is handed back.
    pub(super) fn settle(
        &mut self,
        lease: u64,
        settlement: Settlement,
        now: Timestamp,
        bug: Option<Bug>,
    ) -> Option<Dead> {
        let holds = |entry: &Entry| entry.held.as_ref().is_some_and(|held| held.lease == lease);
        let at = self.entries.iter().position(holds)?;
        let until = self.entries[at].held.take()?.until;
        self.used = now;
        self.settled.push(Settled { lease, settlement: settlement.clone(), until });
        let last = self.is_last_delivery(&self.entries[at], bug);
        let entry = &mut self.entries[at];
        let (cause, reason) = match settlement {
            Settlement::Ack => {
                self.entries.remove(at);
                return None;
            }
            Settlement::Release => {
                entry.due = now;
                if bug != Some(Bug::CountRelease) {
                    entry.deliveries -= 1;
                }
                return None;
            }
            Settlement::Retry { .. } if bug == Some(Bug::LoseOnRetry) => {
                self.entries.remove(at);
                return None;
            }
            Settlement::Retry { after: wait } if !last => {
                let deliveries = NonZeroU32::new(entry.deliveries).expect("it was delivered");
                let wait = wait.unwrap_or_else(|| self.spec.redelivery.wait(deliveries, 0));
                entry.due = if bug == Some(Bug::RetryEarly) { now } else { after(now, wait) };
                return None;
            }
            Settlement::Retry { .. } => (Cause::MaxDeliveries, None),
            Settlement::DeadLetter { reason } => (Cause::Rejected, Some(reason)),
        };
        Some(Dead { entry: self.entries.remove(at), cause, reason, at: now })
    }

    fn is_last_delivery(&self, entry: &Entry, bug: Option<Bug>) -> bool {
        let more = u32::from(bug == Some(Bug::OneDeliveryMore));
        self.dead_letters.is_some() && entry.deliveries >= self.spec.max_deliveries.get().saturating_add(more)
    }

    pub(super) fn extend(&mut self, lease: u64, until: Timestamp, bug: Option<Bug>) {
        let held = self.entries.iter_mut().filter_map(|entry| entry.held.as_mut());
        for held in held.filter(|held| held.lease == lease && bug != Some(Bug::ExtendNothing)) {
            held.until = until;
        }
    }

    /// What the time does by itself until `now`: leases end, messages die, what need not be remembered is forgotten.
    pub(super) fn pass(&mut self, now: Timestamp, bug: Option<Bug>) -> Vec<Dead> {
        self.settled.retain(|settled| now < settled.until);
        if let Some(window) = self.spec.deduplication_window {
            self.seen.retain(|seen| now <= after(seen.at, window));
        }
        let mut dead = Vec::new();
        let mut at = 0;
        while at < self.entries.len() {
            let last = self.is_last_delivery(&self.entries[at], bug);
            let entry = &mut self.entries[at];
            let over = entry.held.as_ref().map(|held| held.until).filter(|until| *until <= now);
            let stays = matches!(bug, Some(Bug::LeaseForEver | Bug::TakeLateSettlement));
            let over = over.filter(|_| !stays);
            if let Some(until) = over {
                entry.held = None;
                if last {
                    let entry = self.entries.remove(at);
                    dead.push(Dead { entry, cause: Cause::MaxDeliveries, reason: None, at: until });
                    continue;
                }
                let deliveries = NonZeroU32::new(entry.deliveries).expect("it was delivered");
                entry.due = after(until, self.spec.redelivery.wait(deliveries, 0));
            }
            let end = entry.end(self.spec.ttl).filter(|end| *end <= now && bug != Some(Bug::IgnoreTtl));
            if let Some(end) = end.filter(|_| self.entries[at].held.is_none()) {
                let entry = self.entries.remove(at);
                dead.push(Dead { entry, cause: Cause::Expired, reason: None, at: end });
                continue;
            }
            at += 1;
        }
        dead
    }

    /// When something becomes due by itself, for whoever waits.
    pub(super) fn next_event(&self, now: Timestamp) -> Option<Timestamp> {
        let moments =
            self.entries.iter().map(|entry| entry.held.as_ref().map_or(entry.due, |held| held.until));
        moments.filter(|moment| *moment > now).min()
    }

    pub(super) fn is_abandoned(&self, now: Timestamp) -> bool {
        self.entries.is_empty() && self.spec.auto_delete.is_some_and(|time| after(self.used, time) <= now)
    }

    /// What a restart takes from a queue that outlasts it when it forgets what waits to be repeated.
    pub(super) fn forget_retries(&mut self, now: Timestamp) {
        self.entries.retain(|entry| entry.deliveries == 0 || entry.due <= now);
    }

    /// What a restart takes when it forgets ids.
    pub(super) fn forget_ids(&mut self) {
        self.seen.clear();
    }

    pub(super) fn depth(&self, now: Timestamp) -> Depth {
        let mut depth = Depth::default();
        for entry in &self.entries {
            if entry.held.is_some() {
                depth.in_flight += 1;
            } else if entry.due > now {
                depth.delayed += 1;
            } else {
                depth.ready += 1;
                depth.oldest = Some(depth.oldest.map_or(entry.due, |oldest| oldest.min(entry.due)));
            }
        }
        depth
    }

    pub(super) fn browse(&self, browse: &Browse) -> Page {
        let mut found = self.entries.iter().filter(|entry| entry.position >= browse.from);
        let messages = found.by_ref().take(browse.most.get() as usize).map(Entry::browsed).collect();
        Page { messages, next: found.next().map(|entry| entry.position) }
    }
}

impl Entry {
    fn browsed(&self) -> Browsed {
        Browsed {
            position: self.position,
            content: self.content.clone(),
            priority: self.priority,
            deliveries: self.deliveries,
            stored_at: self.stored_at,
            due: self.due,
            leased_until: self.held.as_ref().map(|held| held.until),
            dead_letter: self.dead_letter.clone(),
        }
    }
}
