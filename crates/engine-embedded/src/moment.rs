//! Moments as SQLite keeps them: nanoseconds in 63 bits, until the year 2262.

use std::time::Duration;

use intertie_core::clock::{Timestamp, nanos};

/// Nanoseconds since 1970, never negative.
pub(crate) type Moment = i64;

/// `at`, or the last moment that can be kept.
pub(crate) fn moment(at: Timestamp) -> Moment {
    i64::try_from(at.as_unix_nanos()).unwrap_or(i64::MAX)
}

pub(crate) fn timestamp(at: Moment) -> Timestamp {
    Timestamp::from_unix_nanos(at.max(0).cast_unsigned())
}

/// `time` after `at`.
pub(crate) fn later(at: Moment, time: Duration) -> Moment {
    at.saturating_add(i64::try_from(nanos(time)).unwrap_or(i64::MAX))
}
