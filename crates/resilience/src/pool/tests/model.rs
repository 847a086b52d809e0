//! The core against what a naive reader of the module's page would expect.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::panic::Location;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::quantity::Ratio;
use proptest::prelude::*;

use super::super::entry::{Arrival, Effects, Entry, Grant, Holder, Place, Purpose, Reason, Ticket};
use super::super::schedule::Task;
use super::super::state::State;
use super::super::{PoolConfig, Stats};

/// A resource is a number of its own.
type Number = u64;

struct Model {
    state: State<Number>,
    now: Instant,
    connected: Number,
    /// Every resource that was connected and neither discarded nor taken.
    live: BTreeSet<Number>,
    held: Vec<Entry<Number>>,
    places: Vec<Place>,
    checked: Option<Entry<Number>>,
    waiting: VecDeque<Ticket>,
    /// Until when maintenance sleeps; none while it is awake or does not run.
    asleep: Option<Instant>,
    closed: bool,
    /// Whether the last connect failed.
    failing: bool,
    before: Stats,
}

impl Model {
    fn new(config: PoolConfig) -> Self {
        Self {
            state: State::new(config, 7),
            now: Instant::ORIGIN + Duration::from_secs(1),
            connected: 0,
            live: BTreeSet::new(),
            held: Vec::new(),
            places: Vec::new(),
            checked: None,
            waiting: VecDeque::new(),
            asleep: None,
            closed: false,
            failing: false,
            before: Stats::default(),
        }
    }

    fn open(&self) -> usize {
        self.state.idle.len() + self.held.len() + usize::from(self.checked.is_some()) + self.places.len()
    }

    fn hold(&mut self, grant: Grant<Number>) {
        match grant {
            Grant::Resource(entry) => {
                assert!(self.live.contains(&entry.resource), "handed out after it was dropped");
                let leaks = self.state.checked_out(entry.id, self.now, Location::caller());
                self.held.push(entry);
                self.carry_out(leaks);
            }
            Grant::Place(place) => {
                let retired = place.purpose == Purpose::Retirement;
                assert!(!(retired && self.failing), "what works is given up while connects fail");
                self.places.push(place);
            }
        }
    }

    fn carry_out(&mut self, effects: Effects<Number>) {
        for number in effects.discarded {
            assert!(self.live.remove(&number), "{number} was dropped twice");
        }
        if let Some((ticket, grant)) = effects.granted {
            assert_eq!(self.waiting.pop_front(), Some(ticket), "first come, first served");
            self.hold(grant);
        }
        if !effects.refused.is_empty() {
            assert_eq!(std::mem::take(&mut self.waiting), effects.refused);
        }
        if effects.wake_maintenance {
            self.asleep = None;
        }
    }

    fn arrive(&mut self) {
        let (min_idle, timeout) = (self.state.min_idle(), self.state.config.idle_timeout);
        let mut idle: Vec<_> =
            self.state.idle.iter().map(|entry| (entry.resource, entry.idle_since, entry.expires)).collect();
        idle.sort_by_key(|(_, idle_since, _)| *idle_since);
        while idle.len() > min_idle && idle[0].1 + timeout <= self.now {
            idle.remove(0);
        }
        let fresh = idle.iter().rev().find(|(_, _, expires)| self.now < *expires);
        let expected = fresh.or(idle.last()).map(|(number, _, _)| *number);
        let open = idle.len() + self.open() - self.state.idle.len();

        let (arrival, effects) = self.state.arrive(self.now);
        self.carry_out(effects);
        match arrival {
            Arrival::Granted(Grant::Resource(entry)) => {
                assert_eq!(Some(entry.resource), expected);
                self.hold(Grant::Resource(entry));
            }
            Arrival::Granted(place) => {
                assert!(expected.is_none() && open < self.state.max() && self.waiting.is_empty());
                self.hold(place);
            }
            Arrival::Waiting(ticket) => {
                assert!(expected.is_none() && open == self.state.max());
                self.waiting.push_back(ticket);
            }
            Arrival::Full => assert_eq!(self.waiting.len(), self.state.config.queue as usize),
            Arrival::Closed => assert!(self.closed),
        }
    }

    fn maintain(&mut self) {
        if self.state.maintainers == 0 || self.asleep.is_some() {
            return;
        }
        let full = self.open() == self.state.max();
        let idle = self.state.idle.len();
        let (task, effects) = self.state.next_task(self.now);
        let dropped = effects.discarded.len();
        self.carry_out(effects);
        let surplus = idle.saturating_sub(self.state.min_idle());
        let retires_first = full && matches!(task, Task::Connect(_)) && dropped == surplus + 1;
        assert!(dropped <= surplus || retires_first && !self.failing, "dropped {dropped} of {idle}");
        match task {
            Task::Connect(place) => self.places.push(place),
            Task::Check(entry) => {
                assert!(entry.good + self.state.config.check_every <= self.now, "checked too early");
                assert!(self.checked.replace(entry).is_none());
            }
            Task::Report(leaks) => {
                let leak_after = self.state.config.leak_after.expect("asked for");
                assert!(!leaks.is_empty() && leaks.iter().all(|leak| leak.out_for >= leak_after));
            }
            Task::Sleep(until) => {
                assert!(until > self.now);
                self.asleep = Some(until);
            }
            Task::Stop => assert!(self.closed),
        }
    }

    /// Whether maintenance, if it looked now, would find something to do.
    fn has_work(&self) -> bool {
        let (state, config) = (&self.state, &self.state.config);
        let surplus = state.idle.len() > state.min_idle();
        let lasting = state.idle.iter().filter(|entry| self.now < entry.expires).count();
        let refill = lasting + state.checking < state.min_idle()
            && !self.places.iter().any(|place| place.purpose == Purpose::Refill)
            && self.now >= state.retry_at
            && self.open() < state.max();
        let leak = |after| state.out.values().any(|out| !out.reported && out.since + after <= self.now);
        self.closed
            || refill
            || config.leak_after.is_some_and(leak)
            || state.idle.iter().any(|entry| entry.good + config.check_every <= self.now)
            || surplus && state.idle.iter().any(|entry| entry.idle_since + config.idle_timeout <= self.now)
            || surplus && lasting < state.idle.len()
    }

    fn step(&mut self, what: u8, which: usize) {
        let now = self.now;
        let held = which.checked_rem(self.held.len());
        let place = which.checked_rem(self.places.len());
        match (what, held, place) {
            (0..=3, ..) => self.arrive(),
            (4..=6, Some(held), _) => {
                let entry = self.held.swap_remove(held);
                let effects = self.state.release(now, entry);
                self.carry_out(effects);
            }
            (7, Some(held), _) => {
                let entry = self.held.swap_remove(held);
                let reason = [Reason::Broken, Reason::Taken, Reason::CheckFailed][which % 3];
                let (number, effects) = self.state.remove(entry, Holder::Caller, reason);
                assert!(self.live.remove(&number));
                self.carry_out(effects);
            }
            (8, Some(held), _) => {
                let entry = self.held.swap_remove(held);
                let (number, place) = self.state.exchange(entry, Reason::CheckFailed);
                assert!(self.live.remove(&number));
                self.places.push(place);
            }
            (9, Some(held), _) => {
                let entry = self.held.swap_remove(held);
                let effects = self.state.give_back(now, Grant::Resource(entry));
                self.carry_out(effects);
            }
            (10..=12, _, Some(place)) => {
                let place = self.places.swap_remove(place);
                self.connected += 1;
                self.failing = false;
                self.live.insert(self.connected);
                let is_refill = place.purpose == Purpose::Refill;
                let (entry, effects) = self.state.connected(now, place, self.connected);
                let lifetime = entry.expires.saturating_since(now);
                assert!(lifetime <= self.state.config.lifetime && lifetime >= self.state.config.lifetime / 2);
                self.carry_out(effects);
                self.held.push(entry);
                if is_refill {
                    self.step(4, self.held.len() - 1);
                }
            }
            (13, _, Some(place)) => {
                let place = self.places.swap_remove(place);
                self.failing = true;
                let effects = self.state.connect_failed(now, place);
                self.carry_out(effects);
            }
            (14, _, Some(place)) => {
                let place = self.places.swap_remove(place);
                let effects = self.state.give_back(now, Grant::Place(place));
                self.carry_out(effects);
            }
            (15, ..) if !self.waiting.is_empty() => {
                let ticket = self.waiting.remove(which % self.waiting.len()).expect("in range");
                assert!(self.state.abandon(ticket) && !self.state.abandon(ticket));
            }
            (16..=18, ..) => match self.checked.take() {
                None => self.maintain(),
                Some(entry) if which.is_multiple_of(2) => {
                    let effects = self.state.check_passed(now, entry);
                    self.carry_out(effects);
                }
                Some(entry) => {
                    let (number, effects) =
                        self.state.remove(entry, Holder::Maintenance, Reason::CheckFailed);
                    assert!(self.live.remove(&number));
                    self.carry_out(effects);
                }
            },
            (19..=21, ..) => {
                self.now = now + Duration::from_millis([1, 40, 200, 900][which % 4]);
                self.asleep = self.asleep.filter(|until| self.now < *until);
            }
            (22, ..) if self.state.maintainers == 0 => self.state.maintenance_began(),
            (22, ..) if which == 0 => {
                let effects = self.state.maintenance_ended();
                self.carry_out(effects);
            }
            (23, ..) if which == 0 => {
                self.closed = true;
                let effects = self.state.close();
                self.carry_out(effects);
            }
            _ => {}
        }
    }

    fn check(&mut self) {
        let stats = self.state.stats();
        let config = &self.state.config;
        assert_eq!(stats.open, self.open());
        assert!(stats.open <= config.max.get() as usize, "more than `max`: {stats:?}");
        let numbers = self.state.idle.iter().chain(&self.held).chain(&self.checked);
        assert_eq!(numbers.map(|entry| entry.resource).collect::<BTreeSet<_>>(), self.live, "one is lost");
        assert_eq!(stats.waiting, self.waiting.len());
        if !self.waiting.is_empty() {
            assert!(stats.idle == 0 && stats.open == self.state.max(), "somebody waits for nothing");
        }
        let ended = stats.reaped_idle
            + stats.reaped_lifetime
            + stats.broken
            + stats.checks_failed
            + stats.taken
            + stats.dropped_at_close;
        let alive = stats.idle + stats.in_use + stats.checking;
        assert_eq!(stats.connects, ended + alive as u64, "{stats:?}");
        let retiring = self.places.iter().filter(|place| place.purpose == Purpose::Retirement).count();
        let refilling = self.places.iter().filter(|place| place.purpose == Purpose::Refill).count();
        assert!(retiring <= 1 && refilling <= 1, "more than one is replaced at a time");
        if stats.reaped_idle > self.before.reaped_idle {
            let picked = usize::from(stats.in_use > self.before.in_use);
            assert!(stats.idle + stats.checking + picked >= self.state.min_idle(), "reaped below `min_idle`");
        }
        if self.asleep.is_some() {
            assert!(!self.has_work(), "maintenance sleeps and there is work: {stats:?}");
        }
        if self.closed {
            assert!(stats.idle == 0 && self.waiting.is_empty());
            assert_eq!(self.state.is_drained(), self.open() == 0);
        }
        self.before = stats;
    }
}

fn minutes(minutes: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(60 * minutes)
}

/// A pool with maintenance, and two resources connected at these times.
fn two_held(max: u32, times: [Instant; 2]) -> (State<Number>, [Entry<Number>; 2]) {
    let max = NonZeroU32::new(max).expect("not zero");
    let config = PoolConfig { min_idle: 1, max, lifetime_jitter: Ratio::ZERO, ..PoolConfig::default() };
    let mut state = State::new(config, 7);
    state.maintenance_began();
    let entries = times.map(|at| {
        let Arrival::Granted(Grant::Place(place)) = state.arrive(at).0 else { panic!("none is idle") };
        state.connected(at, place, at.as_nanos()).0
    });
    (state, entries)
}

#[test]
fn what_comes_back_takes_the_place_of_what_is_too_old() {
    let (mut state, [old, young]) = two_held(10, [minutes(0), minutes(20)]);
    assert_eq!(state.release(minutes(25), old).discarded, Vec::<Number>::new());
    assert_eq!(state.release(minutes(31), young).discarded, vec![minutes(0).as_nanos()]);
    assert_eq!(state.stats().reaped_lifetime, 1);
}

#[test]
fn maintenance_learns_of_a_place_for_the_replacement_that_it_could_not_make() {
    let (mut state, [first, second]) = two_held(2, [minutes(0); 2]);
    let _ = state.release(minutes(25), first);
    state.failed_connects = 1;
    let (task, _) = state.next_task(minutes(31));
    let Task::Check(first) = task else { panic!("a check is due, not {task:?}") };
    let _ = state.check_passed(minutes(31), first);
    assert!(matches!(state.next_task(minutes(31)).0, Task::Sleep(_)), "there is no place");
    assert!(state.release(minutes(31), second).wake_maintenance);
    assert!(matches!(state.next_task(minutes(31)).0, Task::Connect(_)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_core_keeps_its_promises(
        min_idle in 0_u32..4,
        more in 0_u32..4,
        queue in 0_u32..5,
        leaks in any::<bool>(),
        steps in prop::collection::vec((0_u8..24, 0_usize..60), 1..400),
    ) {
        let mut model = Model::new(PoolConfig {
            min_idle,
            max: NonZeroU32::new((min_idle + more).max(1)).expect("at least one"),
            queue,
            idle_timeout: Duration::from_millis(300),
            lifetime: Duration::from_millis(1_000),
            lifetime_jitter: Ratio::from_percent(50),
            check_every: Duration::from_millis(150),
            leak_after: leaks.then_some(Duration::from_millis(100)),
            ..PoolConfig::default()
        });
        for (what, which) in steps {
            model.step(what, which);
            model.check();
        }
    }

    #[test]
    fn lifetimes_of_any_neighbours_are_spread(seed in any::<u64>(), count in 2_usize..60) {
        let config = PoolConfig { max: NonZeroU32::new(60).expect("not zero"), ..PoolConfig::default() };
        let width = config.lifetime.mul_f64(config.lifetime_jitter.as_f64());
        let mut state: State<()> = State::new(config, seed);
        let mut ends: Vec<Instant> = (0..count)
            .map(|_| {
                let Arrival::Granted(Grant::Place(place)) = state.arrive(Instant::ORIGIN).0 else {
                    panic!("there is room");
                };
                state.connected(Instant::ORIGIN, place, ()).0.expires
            })
            .collect();
        ends.sort_unstable();
        let closest = ends.windows(2).map(|pair| pair[1].saturating_since(pair[0])).min().expect("two");
        // The golden ratio leaves no gap smaller than this; random numbers would.
        prop_assert!(closest >= width.mul_f64(0.35 / count as f64), "{closest:?} of {width:?}");
    }
}
