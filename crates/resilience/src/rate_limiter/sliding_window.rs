use std::time::Duration;

use intertie_core::clock::{Instant, nanos};
use intertie_core::quantity::Rate;

use super::limit::{Decision, Limit};
use crate::sync::Mutex;

/// The sliding window counter: two fixed windows, of which the older one counts by the part of it that the
/// window ending now still covers.
///
/// With `"100/min"`, 80 calls in the last whole minute and 30 so far in this one, a call 15 s into it sees
/// 80 × 45/60 + 30 = 90 and is admitted. The estimate is exact when the older calls were spread evenly;
/// calls bunched at its start are counted for too long, calls bunched at its end for too short.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlidingWindow {
    window_nanos: u64,
    amount: u64,
}

/// The counts of one caller's two windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct WindowState {
    /// The number of the current fixed window since the clock's origin.
    window: u64,
    current: u32,
    previous: u32,
}

impl SlidingWindow {
    /// At most the amount of `limit` in any window of its period.
    pub(super) fn new(limit: Rate) -> Self {
        Self { window_nanos: nanos(limit.period()).max(1), amount: limit.amount() }
    }

    /// `state` as seen in the fixed window that contains `now`.
    fn at(&self, state: WindowState, now: Instant) -> WindowState {
        let window = now.as_nanos() / self.window_nanos;
        match window.saturating_sub(state.window) {
            // Two threads may bring their readings in either order; the window never slides back.
            0 => state,
            1 => WindowState { window, current: 0, previous: state.current },
            _ => WindowState { window, current: 0, previous: 0 },
        }
    }

    /// What `previous` still counts when `elapsed` of the current window is over, rounded up.
    fn weighted(&self, previous: u32, elapsed: u64) -> u64 {
        let part = u128::from(previous) * u128::from(self.window_nanos - elapsed);
        part.div_ceil(u128::from(self.window_nanos)) as u64
    }

    fn elapsed(&self, state: WindowState, now: Instant) -> u64 {
        now.as_nanos().saturating_sub(state.window * self.window_nanos).min(self.window_nanos)
    }

    /// The earliest moment in a window, counted from its start, at which `previous` weighs at most `room`.
    fn decayed_at(&self, previous: u32, room: u64) -> u64 {
        if u64::from(previous) <= room {
            return 0;
        }
        // ceil(previous × (w − e) / w) ≤ room  ⇔  e ≥ w − room × w / previous
        let kept = u128::from(room) * u128::from(self.window_nanos) / u128::from(previous);
        self.window_nanos - kept as u64
    }
}

impl Limit for SlidingWindow {
    type State = WindowState;
    type Cell = Mutex<WindowState>;

    fn decide(&self, state: &mut WindowState, now: Instant, cost: u64) -> Decision {
        if cost > self.amount {
            return Decision::Rejected { retry_after: None };
        }
        let mut seen = self.at(*state, now);
        let elapsed = self.elapsed(seen, now);
        let used = self.weighted(seen.previous, elapsed) + u64::from(seen.current) + cost;
        if used <= self.amount {
            if cost > 0 {
                seen.current += cost as u32;
                *state = seen;
            }
            let reset = self.window_nanos.saturating_mul(2) - elapsed;
            return Decision::Admitted { remaining: self.amount - used, reset: Duration::from_nanos(reset) };
        }
        let room = self.amount - cost;
        let wait = match room.checked_sub(u64::from(seen.current)) {
            Some(room) => self.decayed_at(seen.previous, room).saturating_sub(elapsed),
            // Even without the older window this one is full: wait until it is the older one and decayed.
            None => (self.window_nanos - elapsed).saturating_add(self.decayed_at(seen.current, room)),
        };
        Decision::Rejected { retry_after: Some(Duration::from_nanos(wait)) }
    }

    fn release(&self, state: &mut WindowState, taken_at: Instant, cost: u64) {
        let taken_in = taken_at.as_nanos() / self.window_nanos;
        let count = match state.window.saturating_sub(taken_in) {
            0 => &mut state.current,
            1 => &mut state.previous,
            _ => return,
        };
        *count = count.saturating_sub(cost as u32);
    }

    fn is_idle(&self, state: &WindowState, now: Instant) -> bool {
        now.as_nanos() / self.window_nanos >= state.window.saturating_add(2)
    }
}
