use std::time::Duration;

use intertie_core::clock::{Instant, nanos};
use intertie_core::quantity::Rate;

use super::limit::{Decision, Limit};
use crate::sync::Mutex;

/// The fixed window: one counter that starts again at each multiple of the period since the process began.
///
/// The cheapest to explain and the loosest to keep: with `"100/min"`, 100 calls at the end of one minute
/// and 100 at the start of the next are 200 within a moment, twice the rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct FixedWindow {
    window_nanos: u64,
    amount: u64,
}

/// The count of one caller's current window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct WindowCount {
    /// The number of the window since the clock's origin.
    window: u64,
    used: u64,
}

impl FixedWindow {
    /// At most the amount of `limit` in each of its periods.
    pub(super) fn new(limit: Rate) -> Self {
        Self { window_nanos: nanos(limit.period()), amount: limit.amount() }
    }

    /// `count` as seen at `now`. Two threads may bring their readings in either order; a window never
    /// comes back.
    fn at(&self, count: WindowCount, now: Instant) -> WindowCount {
        let window = now.as_nanos() / self.window_nanos;
        if window > count.window { WindowCount { window, used: 0 } } else { count }
    }

    fn until_end(&self, count: WindowCount, now: Instant) -> Duration {
        let end = count.window.saturating_add(1).saturating_mul(self.window_nanos);
        Duration::from_nanos(end.saturating_sub(now.as_nanos()))
    }
}

impl Limit for FixedWindow {
    type State = WindowCount;
    type Cell = Mutex<WindowCount>;

    fn decide(&self, count: &mut WindowCount, now: Instant, cost: u64) -> Decision {
        if cost > self.amount {
            return Decision::Rejected { retry_after: None };
        }
        let mut seen = self.at(*count, now);
        let reset = self.until_end(seen, now);
        if cost > self.amount - seen.used {
            return Decision::Rejected { retry_after: Some(reset) };
        }
        if cost > 0 {
            seen.used += cost;
            *count = seen;
        }
        Decision::Admitted { remaining: self.amount - seen.used, reset }
    }

    fn release(&self, count: &mut WindowCount, taken_at: Instant, cost: u64) {
        if taken_at.as_nanos() / self.window_nanos >= count.window {
            count.used = count.used.saturating_sub(cost);
        }
    }

    fn is_idle(&self, count: &WindowCount, now: Instant) -> bool {
        now.as_nanos() / self.window_nanos > count.window
    }
}
