//! One queue: a list of messages, looked through from its beginning for whatever is asked.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::clock::{Timestamp, nanos};
use intertie_core::quantity::format_duration;

use super::Bug;
use super::state::content_bytes;
use crate::message::{Content, Message};
use crate::queue::{
    Browse, Browsed, Cause, DeadLetter, Depth, Lease, LeaseRequest, LeaseToken, Page, QueueSpec, Settlement,
    TtlCounts,
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
    /// When it might have been delivered first.
    first_due: Timestamp,
    pub(super) dead_letter: Option<Box<DeadLetter>>,
    held: Option<Held>,
}

#[derive(Debug, Clone)]
struct Held {
    lease: LeaseToken,
    consumer: Name,
    until: Timestamp,
}

#[derive(Debug, Clone)]
struct Settled {
    lease: LeaseToken,
    settlement: Settlement,
    at: Timestamp,
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

    /// When it has waited too long. `expirytime` is a moment, and one that a dead message has outlived already.
    fn end(&self, spec: &QueueSpec) -> Option<Timestamp> {
        let own = match &self.content {
            Content::Envelope(envelope) if self.dead_letter.is_none() => {
                envelope.expiry_time().ok().flatten().and_then(|time| time.timestamp())
            }
            _ => None,
        };
        let begins = match spec.ttl_counts {
            TtlCounts::Wait => self.due,
            TtlCounts::Age => self.first_due,
        };
        let queues = spec.ttl.map(|ttl| after(begins, ttl));
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
            first_due: due,
            dead_letter,
            held,
        });
        position
    }

    pub(super) fn drop_oldest(&mut self) {
        self.entries.remove(0);
    }

    /// The message that stands at `position`, if nobody holds it.
    pub(super) fn waiting(&self, position: u64, bug: Option<Bug>) -> Option<&Entry> {
        let entry = self.entries.iter().find(|entry| entry.position == position);
        entry.filter(|entry| entry.held.is_none() || bug == Some(Bug::CancelHeld))
    }

    pub(super) fn cancel(&mut self, position: u64, bug: Option<Bug>) {
        self.take(position);
        self.seen.retain(|seen| seen.position != position || bug == Some(Bug::RememberCancelled));
    }

    pub(super) fn take(&mut self, position: u64) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.position == position)?;
        Some(self.entries.remove(at))
    }

    /// Those who hold something.
    pub(super) fn holders(&self) -> impl Iterator<Item = &Name> {
        self.entries.iter().filter_map(|entry| entry.held.as_ref()).map(|held| &held.consumer)
    }

    /// Who has the queue to itself, as far as `consumer` is concerned.
    pub(super) fn holder(&self, consumer: &Name, now: Timestamp) -> Option<Name> {
        if !self.spec.exclusive {
            return None;
        }
        let asks = self.asked.iter().filter(|(_, at)| now < after(*at, self.spec.visibility_timeout));
        let mut holders = asks.map(|(name, _)| name).chain(self.holders());
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
        let time = request.visibility_timeout.unwrap_or(self.spec.visibility_timeout);
        self.check_time(time, bug)?;
        self.asked = Some((request.consumer.clone(), now));
        self.used = now;
        let until = after(now, time);
        let room = |most: u32, held: usize| most.saturating_sub(u32::try_from(held).unwrap_or(u32::MAX));
        let own = self.holders().filter(|holder| **holder == request.consumer).count();
        let most = self.spec.leases_per_consumer_max.filter(|_| bug != Some(Bug::OneTakesAll));
        let most = most.map_or(u32::MAX, |most| room(most.get(), own));
        let room = room(self.spec.leases_max.get(), self.holders().count()).min(most).min(request.most.get());
        let bytes_max = if bug == Some(Bug::IgnoreBytesMax) { u64::MAX } else { request.bytes_max.bytes() };
        let (mut leased, mut bytes) = (Vec::new(), 0);
        for _ in 0..room {
            let Some(at) = self.next_ready(now, bug) else { break };
            let entry = &mut self.entries[at];
            bytes += content_bytes(&entry.content);
            if bytes > bytes_max && !leased.is_empty() {
                break;
            }
            *leases += 1;
            entry.deliveries += 1;
            let secret = if bug == Some(Bug::GuessableLeases) { 0 } else { fastrand::u64(..) };
            let lease = LeaseToken { position: entry.position, delivery: *leases, secret };
            entry.held = Some(Held { lease, consumer: request.consumer.clone(), until });
            leased.push(Lease {
                id: lease.into(),
                content: entry.content.clone(),
                position: Some(entry.position),
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

    pub(super) fn check_time(&self, time: Duration, bug: Option<Bug>) -> Result<(), EngineError> {
        let limit = self.spec.visibility_timeout_max;
        if time <= limit || bug == Some(Bug::LeaseForEver) {
            return Ok(());
        }
        Err(EngineError::Limit { key: "visibility_timeout_max", limit: format_duration(limit) })
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
        lease: LeaseToken,
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
    pub(super) fn any_lease(&self) -> Option<LeaseToken> {
        let held = self.entries.iter().filter_map(|entry| entry.held.as_ref());
        held.map(|held| held.lease).max_by_key(|lease| lease.delivery)
    }

    /// Ends a live lease. What dies of it is handed back.
    pub(super) fn settle(
        &mut self,
        lease: LeaseToken,
        settlement: Settlement,
        now: Timestamp,
        bug: Option<Bug>,
    ) -> Option<Dead> {
        let holds = |entry: &Entry| entry.held.as_ref().is_some_and(|held| held.lease == lease);
        let at = self.entries.iter().position(holds)?;
        self.entries[at].held = None;
        self.used = now;
        self.settled.push(Settled { lease, settlement: settlement.clone(), at: now });
        let settlements_max = self.spec.settlements_max.get() as usize;
        if self.settled.len() > settlements_max && bug != Some(Bug::RememberSettled) {
            self.settled.remove(0);
        }
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
            Settlement::DeadLetter { cause, reason } => (cause, Some(DeadLetter::kept_reason(reason))),
        };
        Some(Dead { entry: self.entries.remove(at), cause, reason, at: now })
    }

    fn is_last_delivery(&self, entry: &Entry, bug: Option<Bug>) -> bool {
        let more = u32::from(bug == Some(Bug::OneDeliveryMore));
        self.dead_letters.is_some() && entry.deliveries >= self.spec.max_deliveries.get().saturating_add(more)
    }

    pub(super) fn extend(&mut self, lease: LeaseToken, until: Timestamp, bug: Option<Bug>) {
        let held = self.entries.iter_mut().filter_map(|entry| entry.held.as_mut());
        for held in held.filter(|held| held.lease == lease && bug != Some(Bug::ExtendNothing)) {
            held.until = until;
        }
    }

    /// What the time does by itself until `now`: leases end, messages die, what need not be remembered is forgotten.
    pub(super) fn pass(&mut self, now: Timestamp, bug: Option<Bug>) -> Vec<Dead> {
        let window = self.spec.settlement_window;
        self.settled.retain(|settled| now < after(settled.at, window) || bug == Some(Bug::RememberSettled));
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
            let end = entry.end(&self.spec).filter(|end| *end <= now && bug != Some(Bug::IgnoreTtl));
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
        let mut bytes = 0;
        for entry in &self.entries {
            bytes += content_bytes(&entry.content);
            if entry.held.is_some() {
                depth.in_flight += 1;
            } else if entry.due > now {
                depth.delayed += 1;
            } else {
                depth.ready += 1;
                depth.oldest = Some(depth.oldest.map_or(entry.due, |oldest| oldest.min(entry.due)));
            }
        }
        Depth { bytes: Some(bytes), ..depth }
    }

    pub(super) fn browse(&self, browse: &Browse, bug: Option<Bug>) -> Page {
        let bytes_max = if bug == Some(Bug::IgnoreBytesMax) { u64::MAX } else { browse.bytes_max.bytes() };
        let (mut messages, mut bytes) = (Vec::new(), 0);
        for entry in self.entries.iter().filter(|entry| entry.position >= browse.from) {
            bytes += content_bytes(&entry.content);
            let full = messages.len() == browse.most.get() as usize || bytes > bytes_max;
            if full && !messages.is_empty() {
                return Page { messages, next: Some(entry.position) };
            }
            messages.push(entry.browsed());
        }
        Page { messages, next: None }
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
