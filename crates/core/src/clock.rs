//! Time, always as an argument.
//!
//! A policy's core never reads a clock: it takes an [`Instant`], so that a test, the simulator and the
//! data plane run the same code. Wall time, needed only to show it to people, comes from [`WallClock`].

use std::fmt;
use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point on the monotonic clock: nanoseconds since an origin that the process chose once.
///
/// One `u64` covers 584 years, fits an atomic word, and needs no conversion in arithmetic.
/// Instants of two origins must not be mixed; a process has one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The origin itself.
    pub const ORIGIN: Self = Self(0);

    /// The instant `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, or zero when `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of the clock's range instead of wrapping.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

/// `duration` in nanoseconds, saturated at `u64::MAX` (584 years).
#[inline]
pub fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into())
}

/// Wall time. It jumps, so nothing decides by it; it is what people and other systems are shown.
#[derive(Debug, Clone, Default)]
pub struct WallClock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Fixed(Arc<AtomicU64>),
}

impl WallClock {
    /// The operating system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands still until [`WallClock::set`] moves it; clones share it.
    pub fn fixed(at: Timestamp) -> Self {
        Self(Source::Fixed(Arc::new(AtomicU64::new(at.0))))
    }

    /// The present time.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => {
                #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
                let now = SystemTime::now();
                Timestamp(now.duration_since(UNIX_EPOCH).map_or(0, nanos))
            }
            Source::Fixed(at) => Timestamp(at.load(Ordering::Relaxed)),
        }
    }

    /// Whether it moves only when it is told to.
    pub fn is_fixed(&self) -> bool {
        matches!(self.0, Source::Fixed(_))
    }

    /// Moves a fixed clock. The system's clock stays as it is.
    pub fn set(&self, to: Timestamp) {
        if let Source::Fixed(at) = &self.0 {
            at.store(to.0, Ordering::Relaxed);
        }
    }
}

/// A moment of wall time: nanoseconds since 1970-01-01T00:00:00Z. Displays as RFC 3339 with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `seconds` after 1970-01-01T00:00:00Z.
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// The moment `nanos` nanoseconds after 1970-01-01T00:00:00Z.
    pub const fn from_unix_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub const fn as_unix_nanos(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = UNIX_EPOCH + Duration::from_nanos(self.0);
        humantime::format_rfc3339_millis(time).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_saturate_instead_of_wrapping() {
        let end = Instant::from_nanos(u64::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
        assert_eq!(Instant::ORIGIN.saturating_since(end), Duration::ZERO);
    }

    #[test]
    fn timestamps_read_as_rfc_3339() {
        let clock = WallClock::fixed(Timestamp::from_unix_seconds(1_755_945_000));
        assert_eq!(clock.now().to_string(), "2025-08-23T10:30:00.000Z");
    }
}
