use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use fastrand::Rng;

use super::config::SimulationConfig;
use super::faults::Faults;
use super::latency::Latency;
use super::outcome::{Failure, Reason};

/// The dependency: servers, a queue in front of them, and what befalls them. No clock: times are `now`,
/// counted from the beginning of the simulation, and never go back.
///
/// Invariants: no call waits while a server is free; each call that was taken is answered once, or left.
#[derive(Debug)]
pub(super) struct Dependency {
    latency: Latency,
    capacity: usize,
    queue: usize,
    error_rate: f64,
    abandons_cancelled: bool,
    faults: Faults,
    random: Rng,
    running: BTreeSet<Running>,
    waiting: VecDeque<Taken>,
}

/// A call that was taken, with what was drawn for it when it came.
#[derive(Debug, Clone, Copy)]
struct Taken {
    number: usize,
    latency: Duration,
    /// Between 0 and 1; it fails when this is below the share of calls that do.
    luck: f64,
}

/// A call that is worked on; the one that is done first comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Running {
    /// In time in which work makes progress, so that a hang moves nothing here.
    done: Duration,
    number: usize,
    fails: bool,
}

/// An answer to a call.
pub(super) type Answer = (usize, Result<(), Failure>);

impl Dependency {
    pub(super) fn new(config: &SimulationConfig, random: Rng) -> Self {
        Self {
            latency: config.latency.clone(),
            capacity: config.capacity.get() as usize,
            queue: config.queue as usize,
            error_rate: config.error_rate.as_f64(),
            abandons_cancelled: config.abandons_cancelled,
            faults: Faults::new(config.faults.clone()),
            random,
            running: BTreeSet::new(),
            waiting: VecDeque::new(),
        }
    }

    /// A call arrives, after [`Dependency::advance`] to the same `now`. It is refused now, or answered later.
    pub(super) fn arrive(&mut self, now: Duration, number: usize) -> Result<(), Failure> {
        // Drawn for each call, refused ones too, so that the next ones fare alike under other policies.
        let latency = self.latency.draw(&mut self.random);
        let taken = Taken { number, latency, luck: self.random.f64() };
        let conditions = self.faults.at(now);
        if conditions.refuses {
            return Err(Failure::new(Reason::Refused, None));
        }
        if let Some(hint) = conditions.throttle {
            return Err(Failure::new(Reason::Throttled, Some(hint)));
        }
        if self.has_room(now) {
            self.start(now, taken);
        } else if self.waiting.len() < self.queue {
            self.waiting.push_back(taken);
        } else {
            return Err(Failure::new(Reason::Overloaded, None));
        }
        Ok(())
    }

    /// Does what is due until `now`. The answers that it gives, in order.
    pub(super) fn advance(&mut self, now: Duration) -> Vec<Answer> {
        let mut answers = Vec::new();
        let worked = self.faults.worked(now);
        while let Some(first) = self.running.first().copied().filter(|first| first.done <= worked) {
            self.running.pop_first();
            let failure = || Failure::new(Reason::Failed, None);
            answers.push((first.number, if first.fails { Err(failure()) } else { Ok(()) }));
        }
        if self.faults.at(now).refuses {
            let running = std::mem::take(&mut self.running).into_iter().map(|running| running.number);
            let waiting = std::mem::take(&mut self.waiting).into_iter().map(|waiting| waiting.number);
            let lost = |number| (number, Err(Failure::new(Reason::Refused, None)));
            answers.extend(running.chain(waiting).map(lost));
        }
        self.serve_waiting(now);
        answers
    }

    /// The caller of a call has gone.
    pub(super) fn leave(&mut self, now: Duration, number: usize) {
        if self.abandons_cancelled {
            self.running.retain(|running| running.number != number);
            self.waiting.retain(|waiting| waiting.number != number);
            self.serve_waiting(now);
        }
    }

    /// When there is something to do next, if nobody comes or goes before.
    pub(super) fn next(&self, now: Duration) -> Option<Duration> {
        let done = self.running.first().map(|first| self.faults.when_worked(first.done));
        let idle = self.running.is_empty() && self.waiting.is_empty();
        let edge = self.faults.next_edge(now).filter(|_| !idle);
        done.into_iter().chain(edge).min()
    }

    fn serve_waiting(&mut self, now: Duration) {
        while self.has_room(now)
            && let Some(next) = self.waiting.pop_front()
        {
            self.start(now, next);
        }
    }

    fn has_room(&self, now: Duration) -> bool {
        let left = self.faults.at(now).capacity.map_or(self.capacity, |left| left.get() as usize);
        self.running.len() < left.min(self.capacity)
    }

    fn start(&mut self, now: Duration, taken: Taken) {
        let conditions = self.faults.at(now);
        let done = self.faults.worked(now).saturating_add(taken.latency.saturating_mul(conditions.slow));
        let fails = taken.luck < self.error_rate.max(conditions.fail.as_f64());
        self.running.insert(Running { done, number: taken.number, fails });
    }
}
