use std::sync::OnceLock;
use std::time::Duration;

use intertie_core::clock::{Instant, nanos};

/// The process's monotonic clock, read through tokio so that tests can pause it.
///
/// All readings of a process share one origin, taken at the first reading, whichever thread makes it. Only the
/// threads of a simulation have origins of their own, so that windows are cut alike in each run.
#[derive(Debug, Clone, Copy, Default)]
pub struct MonotonicClock;

static ORIGIN: OnceLock<tokio::time::Instant> = OnceLock::new();

impl MonotonicClock {
    /// The present instant: a reading of the system's clock, and 3 ns for its conversion.
    pub fn now() -> Instant {
        let now = tokio::time::Instant::now();
        Instant::from_nanos(nanos(now.saturating_duration_since(origin(|| now))))
    }

    /// `at` on tokio's clock, for timers.
    pub fn to_tokio(at: Instant) -> tokio::time::Instant {
        let origin = origin(tokio::time::Instant::now);
        let since = Duration::from_nanos(at.as_nanos());
        origin.checked_add(since).unwrap_or_else(|| origin + FAR)
    }
}

fn origin(now: impl FnOnce() -> tokio::time::Instant) -> tokio::time::Instant {
    #[cfg(feature = "simulate")]
    if let Some(origin) = simulated::origin() {
        return origin;
    }
    *ORIGIN.get_or_init(|| now() - LEAD)
}

/// The first reading is this long after the origin, so that "one window ago" exists from the start.
const LEAD: Duration = Duration::from_secs(1);

/// Timers beyond this never fire; tokio's own limit is near two years.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The origins of simulations, each on a thread of its own.
#[cfg(feature = "simulate")]
pub(crate) mod simulated {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::time::Instant;

    use super::LEAD;

    /// Spares the processes that never simulate the look at the thread's own origin. A thread that set one
    /// sees its own store, whatever the order.
    static ANY: AtomicBool = AtomicBool::new(false);

    thread_local! {
        static ORIGIN: Cell<Option<Instant>> = const { Cell::new(None) };
    }

    pub(super) fn origin() -> Option<Instant> {
        if ANY.load(Ordering::Relaxed) { ORIGIN.get() } else { None }
    }

    /// From now on, and on this thread, time counts from the present.
    pub(crate) fn begin() {
        ORIGIN.set(Some(Instant::now() - LEAD));
        ANY.store(true, Ordering::Relaxed);
    }
}
