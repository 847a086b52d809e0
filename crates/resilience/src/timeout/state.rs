use std::time::Duration;

use intertie_core::clock::Instant;

use super::config::{Late, TimeoutConfig};
use crate::deadline::{Deadline, LimitedBy};

/// How long something that goes on now may go on.
///
/// Invariant: `until` is not after `given_up`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// When it should have ended.
    until: Instant,
    /// When it is dropped if it has not.
    given_up: Instant,
}

impl Bounds {
    /// Ends at `at`, without grace.
    pub const fn at(at: Instant) -> Self {
        Self { until: at, given_up: at }
    }

    /// What both allow.
    pub fn and(self, other: Self) -> Self {
        Self { until: self.until.min(other.until), given_up: self.given_up.min(other.given_up) }
    }
}

/// The ends of one operation: no clock, no lock, no await.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    started: Instant,
    until: Instant,
    given_up: Instant,
    late: Late,
    by: LimitedBy,
}

impl Limits {
    /// Of an operation that begins now, inside of `outer`.
    ///
    /// What its caller waits for never exceeds `outer`. A detached operation has its whole grace, since by
    /// then it is nobody's.
    pub fn new(now: Instant, config: &TimeoutConfig, outer: Option<Bounds>) -> Self {
        let (own, left) = (now + config.limit, outer.map(|outer| outer.until.max(now)));
        let (until, by) = match left {
            Some(left) if left < own => (left, LimitedBy::Deadline),
            _ => (own, LimitedBy::AttemptTimeout),
        };
        let given_up = match config.late {
            Late::Drop => until,
            Late::Cooperate => {
                let graced = until + config.grace;
                outer.map_or(graced, |outer| graced.min(outer.given_up).max(until))
            }
            Late::Detach => until + config.grace,
        };
        Self { started: now, until, given_up, late: config.late, by }
    }

    /// When the operation reaches its limit.
    pub fn until(self) -> Instant {
        self.until
    }

    /// When the operation is dropped if it has not ended.
    pub fn given_up(self) -> Instant {
        self.given_up
    }

    /// When its caller stops waiting for it.
    pub fn caller_leaves(self) -> Instant {
        match self.late {
            Late::Drop | Late::Detach => self.until,
            Late::Cooperate => self.given_up,
        }
    }

    /// When it is told that its time is up, if it is told at all.
    pub fn cancelled(self) -> Option<Instant> {
        (self.late == Late::Cooperate).then_some(self.until)
    }

    /// What the operation may allow whom it calls. One that goes on without its caller may go on with them.
    pub fn inner(self) -> Bounds {
        match self.late {
            Late::Drop | Late::Cooperate => Bounds { until: self.until, given_up: self.given_up },
            Late::Detach => Bounds::at(self.given_up),
        }
    }

    /// How long it may take, grace aside.
    pub fn limit(self) -> Duration {
        self.until.saturating_since(self.started)
    }

    /// Which limit that is.
    pub fn by(self) -> LimitedBy {
        self.by
    }

    /// Whether missing it speaks against the operation: it had nearly all of the time that is its `own`.
    pub fn judges(self, own: Duration) -> bool {
        Deadline::new(self.started, Some(own), Some(self.limit())).judges_from(self.started)
    }
}
