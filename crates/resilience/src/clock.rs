use std::sync::OnceLock;
use std::time::Duration;

use intertie_core::clock::{Instant, nanos};

/// The process's monotonic clock, read through tokio so that tests can pause it.
///
/// All readings of a process share one origin, taken at the first reading, whichever thread makes it.
#[derive(Debug, Clone, Copy, Default)]
pub struct MonotonicClock;

static ORIGIN: OnceLock<tokio::time::Instant> = OnceLock::new();

impl MonotonicClock {
    /// The present instant: about 17 ns.
    pub fn now() -> Instant {
        let now = tokio::time::Instant::now();
        let origin = *ORIGIN.get_or_init(|| now - LEAD);
        Instant::from_nanos(nanos(now.saturating_duration_since(origin)))
    }

    /// `at` on tokio's clock, for timers.
    pub fn to_tokio(at: Instant) -> tokio::time::Instant {
        let origin = *ORIGIN.get_or_init(|| tokio::time::Instant::now() - LEAD);
        let since = Duration::from_nanos(at.as_nanos());
        origin.checked_add(since).unwrap_or_else(|| origin + FAR)
    }
}

/// The first reading is this long after the origin, so that "one window ago" exists from the start.
const LEAD: Duration = Duration::from_secs(1);

/// Timers beyond this never fire; tokio's own limit is near two years.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
