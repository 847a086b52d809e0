use std::collections::VecDeque;
use std::time::Duration;

use intertie_core::clock::{Instant, nanos};
use intertie_core::quantity::Rate;

use super::limit::{Decision, Limit};
use crate::sync::Mutex;

/// The sliding window log: remembers when each call came, and is exact for it.
///
/// A call counts for one period and not a nanosecond longer. The price is memory: 16 bytes for each call
/// in the window, so at most 16 × the amount of the limit for each caller.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlidingWindowLog {
    window_nanos: u64,
    amount: u64,
}

/// One caller's calls, the oldest first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    calls: VecDeque<Call>,
    /// The sum of all costs in `calls`.
    used: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Call {
    at: Instant,
    cost: u64,
}

impl SlidingWindowLog {
    /// At most the amount of `limit` in any window of its period.
    pub(super) fn new(limit: Rate) -> Self {
        Self { window_nanos: nanos(limit.period()), amount: limit.amount() }
    }

    /// The time until `call` counts no more.
    fn leaves_in(&self, call: &Call, now: Instant) -> Duration {
        (call.at + Duration::from_nanos(self.window_nanos)).saturating_since(now)
    }

    fn forget_before(&self, log: &mut Log, now: Instant) {
        while let Some(oldest) = log.calls.front()
            && self.leaves_in(oldest, now).is_zero()
        {
            log.used -= oldest.cost;
            log.calls.pop_front();
        }
    }

    /// The time until the calls that count sum up to `room` or less.
    fn shrinks_to(&self, log: &Log, now: Instant, room: u64) -> Duration {
        let mut used = log.used;
        for call in &log.calls {
            used -= call.cost;
            if used <= room {
                return self.leaves_in(call, now);
            }
        }
        Duration::ZERO
    }
}

impl Limit for SlidingWindowLog {
    type State = Log;
    type Cell = Mutex<Log>;

    fn decide(&self, log: &mut Log, now: Instant, cost: u64) -> Decision {
        if cost > self.amount {
            return Decision::Rejected { retry_after: None };
        }
        self.forget_before(log, now);
        if cost > self.amount - log.used {
            return Decision::Rejected { retry_after: Some(self.shrinks_to(log, now, self.amount - cost)) };
        }
        if cost > 0 {
            log.used += cost;
            // Two threads may bring their readings in either order; the log stays sorted.
            match log.calls.binary_search_by_key(&now, |call| call.at) {
                Ok(known) => log.calls[known].cost += cost,
                Err(place) => log.calls.insert(place, Call { at: now, cost }),
            }
        }
        let reset = log.calls.back().map_or(Duration::ZERO, |newest| self.leaves_in(newest, now));
        Decision::Admitted { remaining: self.amount - log.used, reset }
    }

    fn release(&self, log: &mut Log, taken_at: Instant, cost: u64) {
        // A call that counts no more has nothing to give back.
        let Ok(known) = log.calls.binary_search_by_key(&taken_at, |call| call.at) else { return };
        let returned = cost.min(log.calls[known].cost);
        log.used -= returned;
        log.calls[known].cost -= returned;
        if log.calls[known].cost == 0 {
            log.calls.remove(known);
        }
    }

    fn is_idle(&self, log: &Log, now: Instant) -> bool {
        log.calls.back().is_none_or(|newest| self.leaves_in(newest, now).is_zero())
    }
}
