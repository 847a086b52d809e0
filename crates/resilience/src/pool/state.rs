use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use intertie_core::clock::{Instant, nanos};

use super::config::{CheckOnCheckout, PoolConfig};
use super::entry::{Arrival, Effects, Entry, Grant, Holder, Out, Place, Purpose, Reason, Ticket};
use super::stats::Stats;

/// The resources, the places for them and the queue: no clock, no lock, no await.
///
/// Invariants: `idle`, `in_use`, `checking` and `connecting` together are never more than `max`; somebody
/// waits only while nothing is idle and all places are taken.
///
/// What is handed out, an [`Entry`] or a [`Place`], must come back through one of the methods that take it.
#[derive(Debug)]
pub(super) struct State<R> {
    pub(super) config: PoolConfig,
    /// The least recently used first.
    pub(super) idle: VecDeque<Entry<R>>,
    pub(super) in_use: usize,
    pub(super) checking: usize,
    pub(super) connecting: usize,
    /// Those of `connecting` that maintenance makes.
    pub(super) refilling: usize,
    /// Those of `connecting` in whose favour a resource past its lifetime was given up.
    pub(super) retiring: usize,
    waiting: VecDeque<Ticket>,
    next_ticket: u64,
    next_entry: u64,
    spread: u64,
    /// Connects that failed since the last that succeeded.
    pub(super) failed_connects: u32,
    /// Until then maintenance does not connect.
    pub(super) retry_at: Instant,
    pub(super) maintainers: usize,
    /// Whether maintenance wanted to connect when it last looked, and could not.
    pub(super) wants_place: bool,
    /// Until when maintenance sleeps; the origin while it is awake.
    pub(super) asleep_until: Instant,
    /// What callers hold, by entry, when leaks are looked for.
    pub(super) out: BTreeMap<u64, Out>,
    pub(super) closed: bool,
    pub(super) stats: Stats,
}

/// Successive multiples of it, modulo 2⁶⁴, are spread as evenly as any sequence can be (2⁶⁴ divided by the
/// golden ratio; Knuth, *The Art of Computer Programming*, volume 3, 6.4).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

impl<R> State<R> {
    /// Empty. `seed` is where the jitter of lifetimes begins.
    pub(super) fn new(config: PoolConfig, seed: u64) -> Self {
        Self {
            config,
            idle: VecDeque::new(),
            in_use: 0,
            checking: 0,
            connecting: 0,
            refilling: 0,
            retiring: 0,
            waiting: VecDeque::new(),
            next_ticket: 0,
            next_entry: 0,
            spread: seed,
            failed_connects: 0,
            retry_at: Instant::ORIGIN,
            maintainers: 0,
            wants_place: false,
            asleep_until: Instant::ORIGIN,
            out: BTreeMap::new(),
            closed: false,
            stats: Stats::default(),
        }
    }

    pub(super) fn open(&self) -> usize {
        self.idle.len() + self.in_use + self.checking + self.connecting
    }

    pub(super) fn max(&self) -> usize {
        self.config.max.get() as usize
    }

    pub(super) fn min_idle(&self) -> usize {
        self.config.min_idle as usize
    }

    /// Closed, and nothing is left.
    pub(super) fn is_drained(&self) -> bool {
        self.closed && self.open() == 0
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            open: self.open(),
            idle: self.idle.len(),
            in_use: self.in_use,
            checking: self.checking,
            connecting: self.connecting,
            waiting: self.waiting.len(),
            ..self.stats
        }
    }

    /// A caller arrives.
    pub(super) fn arrive(&mut self, now: Instant) -> (Arrival<R>, Effects<R>) {
        let mut effects = Effects::default();
        if self.closed {
            return (Arrival::Closed, effects);
        }
        self.reap_idle(now, &mut effects);
        let arrival = if let Some(entry) = self.pick(now) {
            self.in_use += 1;
            Arrival::Granted(Grant::Resource(entry))
        } else if self.open() < self.max() {
            self.connecting += 1;
            Arrival::Granted(Grant::Place(Place { purpose: Purpose::Caller }))
        } else if self.waiting.len() >= self.config.queue as usize {
            self.stats.rejected += 1;
            Arrival::Full
        } else {
            let ticket = Ticket(self.next_ticket);
            self.next_ticket += 1;
            self.waiting.push_back(ticket);
            Arrival::Waiting(ticket)
        };
        self.wake_to_refill(&mut effects);
        (arrival, effects)
    }

    /// A waiting caller gives up. False when it no longer waits: something was granted to it.
    pub(super) fn abandon(&mut self, ticket: Ticket) -> bool {
        match self.waiting.binary_search(&ticket) {
            Ok(position) => self.waiting.remove(position).is_some(),
            Err(_) => false,
        }
    }

    /// What was granted to a caller that is gone.
    pub(super) fn give_back(&mut self, now: Instant, grant: Grant<R>) -> Effects<R> {
        match grant {
            Grant::Place(place) => self.leave(place),
            Grant::Resource(entry) => {
                let mut effects = Effects::default();
                self.in_use -= 1;
                self.put(now, entry, &mut effects);
                effects
            }
        }
    }

    /// A place became a resource, which whoever connected it now holds as a caller.
    pub(super) fn connected(&mut self, now: Instant, place: Place, resource: R) -> (Entry<R>, Effects<R>) {
        let mut effects = Effects::default();
        let failed_before = std::mem::take(&mut self.failed_connects) > 0;
        self.retry_at = Instant::ORIGIN;
        if self.resolve(place) != Purpose::Caller || failed_before {
            // What waited for a success, or for its turn, can be replaced now.
            self.wake_by(Instant::ORIGIN, &mut effects);
        }
        self.in_use += 1;
        self.stats.connects += 1;
        let id = self.next_entry;
        self.next_entry += 1;
        let expires = now + self.next_lifetime();
        (Entry { resource, id, expires, idle_since: now, good: now }, effects)
    }

    /// The connect in a place failed.
    pub(super) fn connect_failed(&mut self, now: Instant, place: Place) -> Effects<R> {
        self.stats.connect_failures += 1;
        self.failed_connects = self.failed_connects.saturating_add(1);
        let doublings = (self.failed_connects - 1).min(16);
        self.retry_at = now + (RETRY_FIRST * (1 << doublings)).min(RETRY_MAX);
        self.leave(place)
    }

    /// A place is given up without an outcome.
    pub(super) fn leave(&mut self, place: Place) -> Effects<R> {
        let mut effects = Effects::default();
        if self.resolve(place) != Purpose::Caller {
            self.wake_by(Instant::ORIGIN, &mut effects);
        }
        self.pass_on_place(&mut effects);
        effects
    }

    /// A caller brings back what works.
    pub(super) fn release(&mut self, now: Instant, mut entry: Entry<R>) -> Effects<R> {
        let mut effects = Effects::default();
        self.in_use -= 1;
        self.out.remove(&entry.id);
        entry.idle_since = now;
        entry.good = now;
        self.put(now, entry, &mut effects);
        effects
    }

    /// A resource that maintenance checked works. It was not used, so it goes on being idle.
    pub(super) fn check_passed(&mut self, now: Instant, mut entry: Entry<R>) -> Effects<R> {
        let mut effects = Effects::default();
        self.checking -= 1;
        entry.good = now;
        self.put(now, entry, &mut effects);
        effects
    }

    /// A resource leaves the pool, its place is free.
    pub(super) fn remove(&mut self, entry: Entry<R>, holder: Holder, reason: Reason) -> (R, Effects<R>) {
        let mut effects = Effects::default();
        match holder {
            Holder::Caller => self.in_use -= 1,
            Holder::Maintenance => self.checking -= 1,
        }
        self.out.remove(&entry.id);
        self.count(reason);
        self.pass_on_place(&mut effects);
        (entry.resource, effects)
    }

    /// A resource that a caller can not use leaves the pool, and the caller keeps its place to connect.
    pub(super) fn exchange(&mut self, entry: Entry<R>, reason: Reason) -> (R, Place) {
        self.in_use -= 1;
        self.connecting += 1;
        self.count(reason);
        (entry.resource, Place { purpose: Purpose::Caller })
    }

    /// Nobody gets anything any more, and what is idle is dropped.
    pub(super) fn close(&mut self) -> Effects<R> {
        let mut effects = Effects::default();
        self.closed = true;
        effects.refused = std::mem::take(&mut self.waiting);
        for entry in std::mem::take(&mut self.idle) {
            self.discard(entry, Reason::Closed, &mut effects);
        }
        effects.wake_maintenance = true;
        effects
    }

    /// Whether a resource must be checked before a caller gets it.
    pub(super) fn needs_check(config: &PoolConfig, now: Instant, entry: &Entry<R>) -> bool {
        match config.check_on_checkout {
            CheckOnCheckout::Always => true,
            CheckOnCheckout::AfterIdle(idle) => now.saturating_since(entry.good) >= idle,
            CheckOnCheckout::Never => false,
        }
    }

    /// The idle resource used last, one within its lifetime if there is any: those that are not needed stay
    /// idle and go.
    fn pick(&mut self, now: Instant) -> Option<Entry<R>> {
        let last = self.idle.len().checked_sub(1)?;
        let position = self.idle.iter().rposition(|entry| now < entry.expires).unwrap_or(last);
        self.idle.remove(position)
    }

    /// A resource that works and that nobody holds: to the longest waiting caller, or among the idle ones.
    fn put(&mut self, now: Instant, entry: Entry<R>, effects: &mut Effects<R>) {
        let expired = entry.expires <= now;
        if self.closed {
            self.discard(entry, Reason::Closed, effects);
        } else if let Some(ticket) = self.waiting.pop_front() {
            let grant = if expired && self.may_retire() {
                self.discard(entry, Reason::Lifetime, effects);
                self.connecting += 1;
                self.retiring += 1;
                Grant::Place(Place { purpose: Purpose::Retirement })
            } else {
                self.in_use += 1;
                Grant::Resource(entry)
            };
            effects.granted = Some((ticket, grant));
        } else if expired && (self.maintainers == 0 || self.idle.len() >= self.min_idle()) {
            self.discard(entry, Reason::Lifetime, effects);
            self.wake_to_refill(effects);
        } else {
            let due = (entry.good + self.config.check_every).min(entry.expires);
            self.wake_by(due, effects);
            let position = self.idle.partition_point(|other| other.idle_since <= entry.idle_since);
            self.idle.insert(position, entry);
            if self.idle.len() > self.min_idle() {
                self.spare_one(now, effects);
            }
        }
    }

    /// With more idle resources than needed, those that were kept because they were may go: one past its
    /// lifetime at once, for what was put back is its replacement.
    fn spare_one(&mut self, now: Instant, effects: &mut Effects<R>) {
        // Any more that are too many are known to maintenance by the time at which they must go.
        if self.idle.len() == self.min_idle() + 1
            && let Some(entry) = self.take_expired(now)
        {
            self.discard(entry, Reason::Lifetime, effects);
            self.wake_to_refill(effects);
        } else if let Some(first) = self.idle.front() {
            self.wake_by(first.idle_since + self.config.idle_timeout, effects);
        }
    }

    pub(super) fn take_expired(&mut self, now: Instant) -> Option<Entry<R>> {
        let position = self.idle.iter().position(|entry| entry.expires <= now)?;
        self.idle.remove(position)
    }

    /// A place that nobody holds: to the longest waiting caller.
    fn pass_on_place(&mut self, effects: &mut Effects<R>) {
        if let Some(ticket) = self.waiting.pop_front() {
            self.connecting += 1;
            effects.granted = Some((ticket, Grant::Place(Place { purpose: Purpose::Caller })));
        } else {
            self.wake_to_refill(effects);
        }
    }

    fn resolve(&mut self, Place { purpose }: Place) -> Purpose {
        self.connecting -= 1;
        match purpose {
            Purpose::Caller => {}
            Purpose::Retirement => self.retiring -= 1,
            Purpose::Refill => self.refilling -= 1,
        }
        purpose
    }

    /// Whether a resource that works may be closed because of its age, before there is another in its
    /// stead: one at a time, and only while connects succeed.
    pub(super) fn may_retire(&self) -> bool {
        self.retiring == 0 && self.refilling == 0 && self.failed_connects == 0
    }

    /// Drops what is idle for too long, as long as more than `min_idle` are.
    pub(super) fn reap_idle(&mut self, now: Instant, effects: &mut Effects<R>) {
        let timeout = self.config.idle_timeout;
        while self.idle.len() > self.min_idle()
            && let Some(entry) = self.idle.pop_front_if(|entry| entry.idle_since + timeout <= now)
        {
            self.discard(entry, Reason::Idle, effects);
        }
    }

    pub(super) fn discard(&mut self, entry: Entry<R>, reason: Reason, effects: &mut Effects<R>) {
        self.count(reason);
        effects.discarded.push(entry.resource);
    }

    pub(super) fn refill_place(&mut self) -> Place {
        self.connecting += 1;
        self.refilling += 1;
        Place { purpose: Purpose::Refill }
    }

    fn wake_to_refill(&mut self, effects: &mut Effects<R>) {
        let below = self.wants_place || self.idle.len() + self.checking < self.min_idle();
        if below && self.refilling == 0 && !self.closed && self.open() < self.max() {
            self.wake_by(self.retry_at, effects);
        }
    }

    /// Wakes maintenance if it would sleep beyond `due`.
    pub(super) fn wake_by(&mut self, due: Instant, effects: &mut Effects<R>) {
        if due < self.asleep_until {
            self.asleep_until = Instant::ORIGIN;
            effects.wake_maintenance = true;
        }
    }

    fn next_lifetime(&mut self) -> Duration {
        self.spread = self.spread.wrapping_add(GOLDEN);
        let jitter = self.config.lifetime_jitter.of(nanos(self.config.lifetime));
        let shorter = (u128::from(jitter) * u128::from(self.spread)) >> 64;
        let shorter = u64::try_from(shorter).expect("a share of a u64");
        self.config.lifetime - Duration::from_nanos(shorter)
    }

    fn count(&mut self, reason: Reason) {
        *match reason {
            Reason::Idle => &mut self.stats.reaped_idle,
            Reason::Lifetime => &mut self.stats.reaped_lifetime,
            Reason::Broken => &mut self.stats.broken,
            Reason::CheckFailed => &mut self.stats.checks_failed,
            Reason::Taken => &mut self.stats.taken,
            Reason::Closed => &mut self.stats.dropped_at_close,
        } += 1;
    }
}
