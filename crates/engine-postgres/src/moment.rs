//! Moments as columns hold them.

use std::time::Duration;

use intertie_core::clock::{Timestamp, nanos};

/// Nanoseconds since 1970 by the clock of the database, which tells microseconds.
pub(crate) type Moment = i64;

/// `time` after `at`, or the last moment there is.
pub(crate) fn later(at: Moment, time: Duration) -> Moment {
    at.saturating_add(span(time))
}

/// `time` as a number of nanoseconds.
pub(crate) fn span(time: Duration) -> i64 {
    i64::try_from(nanos(time)).unwrap_or(i64::MAX)
}

/// The moment that `timestamp` names, or the last one there is.
pub(crate) fn moment(timestamp: Timestamp) -> Moment {
    i64::try_from(timestamp.as_unix_nanos()).unwrap_or(i64::MAX)
}

/// What `moment` is called elsewhere.
pub(crate) fn timestamp(moment: Moment) -> Timestamp {
    Timestamp::from_unix_nanos(moment.max(0).cast_unsigned())
}
