//! What maintenance does next: no clock, no lock, no await.

use std::panic::Location;
use std::time::Duration;

use intertie_core::clock::Instant;

use super::entry::{Effects, Entry, Out, Place, Reason};
use super::state::State;

/// One step of maintenance.
#[derive(Debug)]
pub(super) enum Task<R> {
    /// Connect one resource and bring it back.
    Connect(Place),
    /// Check an idle resource.
    Check(Entry<R>),
    /// Tell of resources that are out for too long.
    Report(Vec<Leak>),
    /// Nothing before this instant, unless an effect wakes it.
    Sleep(Instant),
    /// The pool is closed.
    Stop,
}

/// A resource that is out for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leak {
    pub(super) checked_out_at: &'static Location<'static>,
    pub(super) out_for: Duration,
}

const NEVER: Instant = Instant::from_nanos(u64::MAX);

impl<R> State<R> {
    /// Maintenance begins.
    pub(super) fn maintenance_began(&mut self) {
        self.maintainers += 1;
    }

    /// Maintenance ends. If another still runs, it must look what the first left undone.
    pub(super) fn maintenance_ended(&mut self) -> Effects<R> {
        self.maintainers -= 1;
        self.asleep_until = Instant::ORIGIN;
        Effects { wake_maintenance: true, ..Effects::default() }
    }

    /// The most urgent step.
    ///
    /// A resource past its lifetime is not replaced as such: it does not count as one of the `min_idle`, so
    /// another is connected, and then it is one too many. Only when all places are taken it goes first.
    pub(super) fn next_task(&mut self, now: Instant) -> (Task<R>, Effects<R>) {
        let mut effects = Effects::default();
        let task = self.choose(now, &mut effects);
        self.wants_place = self.wants_one(now);
        self.asleep_until = match task {
            Task::Sleep(until) => until,
            _ => Instant::ORIGIN,
        };
        (task, effects)
    }

    fn choose(&mut self, now: Instant, effects: &mut Effects<R>) -> Task<R> {
        if self.closed {
            return Task::Stop;
        }
        while self.idle.len() > self.min_idle()
            && let Some(entry) = self.take_expired(now)
        {
            self.discard(entry, Reason::Lifetime, effects);
        }
        self.reap_idle(now, effects);
        if self.wants_one(now) && now >= self.retry_at {
            if self.open() < self.max() {
                return Task::Connect(self.refill_place());
            }
            if self.may_retire()
                && let Some(entry) = self.take_expired(now)
            {
                self.discard(entry, Reason::Lifetime, effects);
                return Task::Connect(self.refill_place());
            }
        }
        if let Some(leaks) = self.leaks(now) {
            return Task::Report(leaks);
        }
        let check_every = self.config.check_every;
        if let Some(position) = self.idle.iter().position(|entry| entry.good + check_every <= now) {
            let entry = self.idle.remove(position).expect("found there");
            self.checking += 1;
            return Task::Check(entry);
        }
        Task::Sleep(self.next_due(now))
    }

    /// Whether fewer than `min_idle` idle resources are within their lifetime, and none is on its way.
    fn wants_one(&self, now: Instant) -> bool {
        let lasting = self.idle.iter().filter(|entry| now < entry.expires).count();
        self.refilling == 0 && lasting + self.checking < self.min_idle()
    }

    /// A caller got the resource `id`, at this place in the code.
    pub(super) fn checked_out(
        &mut self,
        id: u64,
        now: Instant,
        at: &'static Location<'static>,
    ) -> Effects<R> {
        let mut effects = Effects::default();
        if let Some(leak_after) = self.config.leak_after {
            self.out.insert(id, Out { since: now, at, reported: false });
            self.wake_by(now + leak_after, &mut effects);
        }
        effects
    }

    fn leaks(&mut self, now: Instant) -> Option<Vec<Leak>> {
        let leak_after = self.config.leak_after?;
        let mut leaks = Vec::new();
        for out in self.out.values_mut().filter(|out| !out.reported && out.since + leak_after <= now) {
            out.reported = true;
            leaks.push(Leak { checked_out_at: out.at, out_for: now.saturating_since(out.since) });
        }
        self.stats.leaked += leaks.len() as u64;
        (!leaks.is_empty()).then_some(leaks)
    }

    /// When the first of all known things is due. What is due already and yet not done waits for an effect.
    fn next_due(&self, now: Instant) -> Instant {
        let config = &self.config;
        let of_idle = self.idle.iter().flat_map(|entry| [entry.good + config.check_every, entry.expires]);
        let surplus = self.idle.len() > self.min_idle();
        let reaping =
            self.idle.front().filter(|_| surplus).map(|entry| entry.idle_since + config.idle_timeout);
        let unreported = self.out.values().filter(|out| !out.reported);
        let leaking = config
            .leak_after
            .into_iter()
            .flat_map(|after| unreported.clone().map(move |out| out.since + after));
        of_idle
            .chain(reaping)
            .chain([self.retry_at])
            .chain(leaking)
            .filter(|due| *due > now)
            .min()
            .unwrap_or(NEVER)
    }
}
