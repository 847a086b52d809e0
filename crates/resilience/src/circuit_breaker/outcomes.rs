//! What a closed breaker counts, and when that opens it. No clock, no await; atomics, and a lock only for
//! windows that hold a number of calls.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use intertie_core::clock::Instant;
use intertie_core::failure::Evidence;

use super::config::CircuitBreakerConfig;
use super::state::Cause;
use super::window::Window;
use crate::striped::{Padded, StripedWindow};
use crate::window::Counts;

/// The outcomes of one epoch of a closed breaker; those of earlier epochs count for nothing.
#[derive(Debug)]
pub(super) struct Outcomes {
    window: Option<Calls>,
    consecutive: Option<Padded<Consecutive>>,
}

/// The calls that a window holds.
#[derive(Debug)]
enum Calls {
    Time { failed: Box<StripedWindow>, slow: Option<Box<StripedWindow>> },
    Last(Mutex<Ring>),
}

impl Outcomes {
    pub(super) fn new(config: &CircuitBreakerConfig) -> Self {
        let looks_at_window =
            config.failures.is_some() || config.failure_rate.is_some() || config.slow_call_rate.is_some();
        let window = looks_at_window.then(|| match config.window {
            Window::Time(length) => Calls::Time {
                failed: Box::new(StripedWindow::new(length)),
                slow: config.slow_call_rate.map(|_| Box::new(StripedWindow::new(length))),
            },
            Window::Calls(calls) => Calls::Last(Mutex::new(Ring::new(calls.get() as usize))),
        });
        let consecutive = config.consecutive_failures.map(|_| Padded::default());
        Self { window, consecutive }
    }

    /// Counts one outcome; the condition that it fulfils, if it does.
    #[inline]
    pub(super) fn record(
        &self,
        config: &CircuitBreakerConfig,
        now: Instant,
        epoch: u32,
        evidence: Evidence,
        is_slow: bool,
    ) -> Option<Cause> {
        let failed = match evidence {
            Evidence::None => return None,
            Evidence::Success => false,
            Evidence::Failure => true,
        };
        let in_a_row = match &self.consecutive {
            Some(Padded(consecutive)) => consecutive.record(epoch, failed),
            None => 0,
        };
        if config.consecutive_failures.is_some_and(|limit| in_a_row >= limit.get()) {
            return Some(Cause::ConsecutiveFailures);
        }
        match self.window.as_ref()? {
            Calls::Time { failed: window, slow } => {
                window.add(now, epoch, failed);
                if let Some(slow) = slow {
                    slow.add(now, epoch, is_slow);
                }
                let cause = if failed { failures(config, window.total(now, epoch)) } else { None };
                let slow = slow.as_ref().filter(|_| is_slow);
                cause.or_else(|| slow_calls(config, slow?.total(now, epoch)))
            }
            Calls::Last(ring) => {
                let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
                let [failed_calls, slow] = ring.push(epoch, [failed, is_slow]);
                let cause = if failed { failures(config, failed_calls) } else { None };
                cause.or_else(|| if is_slow { slow_calls(config, slow) } else { None })
            }
        }
    }

    /// All calls in the window, those that failed, and those that were slow.
    pub(super) fn counts(&self, now: Instant, epoch: u32) -> (u64, u64, u64) {
        match &self.window {
            None => (0, 0, 0),
            Some(Calls::Time { failed, slow }) => {
                let counts = failed.total(now, epoch);
                let slow = slow.as_ref().map_or(0, |slow| slow.total(now, epoch).marked);
                (counts.all, counts.marked, slow)
            }
            Some(Calls::Last(ring)) => {
                let ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
                let [failed, slow] = if ring.epoch == epoch { ring.counts() } else { Default::default() };
                (failed.all, failed.marked, slow.marked)
            }
        }
    }
}

fn failures(config: &CircuitBreakerConfig, counts: Counts) -> Option<Cause> {
    if counts.all < u64::from(config.minimum_calls) {
        return None;
    }
    if config.failures.is_some_and(|limit| counts.marked >= u64::from(limit.get())) {
        return Some(Cause::Failures);
    }
    let rate = config.failure_rate.is_some_and(|rate| rate.is_reached_by(counts.marked, counts.all));
    rate.then_some(Cause::FailureRate)
}

fn slow_calls(config: &CircuitBreakerConfig, counts: Counts) -> Option<Cause> {
    let volume = counts.all >= u64::from(config.minimum_calls);
    let rate = config.slow_call_rate.is_some_and(|rate| rate.is_reached_by(counts.marked, counts.all));
    (volume && rate).then_some(Cause::SlowCallRate)
}

/// Failures without a success between them: the epoch in the upper half of a word, the count in the lower.
#[derive(Debug, Default)]
struct Consecutive(AtomicU64);

impl Consecutive {
    /// Counts one outcome; the failures in a row so far.
    #[inline]
    fn record(&self, epoch: u32, failed: bool) -> u32 {
        let none = u64::from(epoch) << 32;
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let count = match ((word >> 32) as u32).wrapping_sub(epoch) as i32 {
                0 => word as u32,
                // Held up since an earlier epoch.
                1.. => return 0,
                _ => 0,
            };
            let next = if failed { count.saturating_add(1) } else { 0 };
            // The usual call succeeds after another that did: nothing is written.
            if next == count {
                return count;
            }
            let replaced = none | u64::from(next);
            match self.0.compare_exchange_weak(word, replaced, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return next,
                Err(present) => word = present,
            }
        }
    }
}

/// The last so many calls, oldest first, each with what is counted of it: failed, slow.
#[derive(Debug)]
struct Ring {
    epoch: u32,
    last: VecDeque<[bool; 2]>,
    capacity: usize,
    marked: [u64; 2],
}

impl Ring {
    fn new(capacity: usize) -> Self {
        Self { epoch: 0, last: VecDeque::with_capacity(capacity), capacity, marked: [0; 2] }
    }

    fn push(&mut self, epoch: u32, marks: [bool; 2]) -> [Counts; 2] {
        match epoch.wrapping_sub(self.epoch) as i32 {
            0 => {}
            1.. => *self = Self { epoch, ..Self::new(self.capacity) },
            // Held up since an earlier epoch.
            _ => return [Counts::default(); 2],
        }
        if self.last.len() == self.capacity
            && let Some(gone) = self.last.pop_front()
        {
            for (count, mark) in self.marked.iter_mut().zip(gone) {
                *count -= u64::from(mark);
            }
        }
        self.last.push_back(marks);
        for (count, mark) in self.marked.iter_mut().zip(marks) {
            *count += u64::from(mark);
        }
        self.counts()
    }

    fn counts(&self) -> [Counts; 2] {
        self.marked.map(|marked| Counts { all: self.last.len() as u64, marked })
    }
}
