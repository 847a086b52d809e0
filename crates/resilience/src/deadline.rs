//! How long a call, and one attempt of it, may still take.
//!
//! A *deadline* limits the whole call: queueing, every attempt, every backoff. An *attempt timeout* limits
//! one attempt. A caller's own deadline, carried with the request, can only shorten ours, and an attempt
//! never gets more than what is left of the call (Google, *Site Reliability Engineering*, chapter 22).

use std::time::Duration;

use intertie_core::clock::Instant;

/// The end of a call, if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    at: Instant,
    configured: Option<Duration>,
}

/// The end of a call that may last for ever.
const NEVER: Instant = Instant::from_nanos(u64::MAX);

impl Deadline {
    /// The earlier of what `configured` and the caller's `remaining` allow from `now` on.
    #[inline]
    pub fn new(now: Instant, configured: Option<Duration>, remaining: Option<Duration>) -> Self {
        let end = |limit: Option<Duration>| limit.map_or(NEVER, |limit| now + limit);
        Self { at: end(configured).min(end(remaining)), configured }
    }

    /// The instant at which the call ends.
    #[inline]
    pub fn at(self) -> Option<Instant> {
        (self.at != NEVER).then_some(self.at)
    }

    /// What is left, `None` when the call may last for ever.
    #[inline]
    pub fn remaining(self, now: Instant) -> Option<Duration> {
        self.at().map(|at| at.saturating_since(now))
    }

    /// Whether nothing is left.
    #[inline]
    pub fn is_over(self, now: Instant) -> bool {
        now >= self.at
    }

    /// Whether waiting for `wait` leaves any time afterwards.
    #[inline]
    pub fn outlasts(self, now: Instant, wait: Duration) -> bool {
        now + wait < self.at || self.at == NEVER
    }

    /// When an attempt that begins now ends at the latest, if ever.
    #[inline]
    pub fn attempt_end(self, now: Instant, attempt_timeout: Option<Duration>) -> Option<Instant> {
        let at = attempt_timeout.map_or(NEVER, |timeout| now + timeout).min(self.at);
        (at != NEVER).then_some(at)
    }

    /// The end of an attempt that begins now, and which limit that is.
    pub fn attempt(self, now: Instant, attempt_timeout: Option<Duration>) -> AttemptLimit {
        let at = self.attempt_end(now, attempt_timeout);
        let by = match attempt_timeout {
            Some(timeout) if now + timeout <= self.at => LimitedBy::AttemptTimeout,
            _ => LimitedBy::Deadline,
        };
        let own = attempt_timeout.or(self.configured);
        AttemptLimit { at, by, judges: is_nearly_all(own, at, now) }
    }

    /// Whether missing the deadline speaks against a dependency that worked on the call since `started`.
    pub fn judges_from(self, started: Instant) -> bool {
        is_nearly_all(self.configured, self.at(), started)
    }
}

/// Whether the time from `from` to `at` is at least nine tenths of what we would allow ourselves.
///
/// A hurried caller, or a queue that used up the time, leaves a dependency less: missing that limit says
/// nothing about the dependency. The tenth is for tiers that hand on what is left of equal limits.
fn is_nearly_all(own: Option<Duration>, at: Option<Instant>, from: Instant) -> bool {
    own.zip(at).is_some_and(|(own, at)| at.saturating_since(from) >= own.mul_f64(0.9))
}

/// The end of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptLimit {
    /// When it ends; `None` when it may last for ever.
    pub at: Option<Instant>,
    /// Which limit ends it.
    pub by: LimitedBy,
    /// Whether reaching it speaks against the dependency: it had nearly all of its time.
    pub judges: bool,
}

impl AttemptLimit {
    /// Whether missing it at `now` speaks against the dependency: the limit does, and an attempt that began at
    /// `started` had nearly all of the time until then. One beside another ends with it, and may have had less.
    pub fn judges_at(self, started: Instant, now: Instant) -> bool {
        let own = self.at.map(|at| at.saturating_since(started));
        self.judges && is_nearly_all(own, Some(now), started)
    }
}

/// The limit that ends an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitedBy {
    /// The attempt's own.
    AttemptTimeout,
    /// The whole call's.
    Deadline,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_nanos(1_000);
    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_caller_shortens_and_never_lengthens() {
        assert_eq!(Deadline::new(NOW, Some(ms(30)), Some(ms(10))).remaining(NOW), Some(ms(10)));
        assert_eq!(Deadline::new(NOW, Some(ms(30)), Some(ms(90))).remaining(NOW), Some(ms(30)));
        assert_eq!(Deadline::new(NOW, None, Some(ms(90))).remaining(NOW), Some(ms(90)));
        assert_eq!(Deadline::new(NOW, None, None).remaining(NOW), None);
    }

    #[test]
    fn an_attempt_ends_with_the_call_at_the_latest() {
        let deadline = Deadline::new(NOW, Some(ms(30)), None);
        let first = deadline.attempt(NOW, Some(ms(20)));
        assert_eq!((first.at, first.by), (Some(NOW + ms(20)), LimitedBy::AttemptTimeout));
        let second = deadline.attempt(NOW + ms(20), Some(ms(20)));
        assert_eq!((second.at, second.by), (Some(NOW + ms(30)), LimitedBy::Deadline));
        assert!(deadline.outlasts(NOW, ms(29)) && !deadline.outlasts(NOW, ms(30)));
        assert!(deadline.is_over(NOW + ms(30)));
    }

    #[test]
    fn only_a_dependency_that_had_its_time_is_judged() {
        let judges = |configured, remaining, later: u64, attempt_timeout| {
            Deadline::new(NOW, configured, remaining).attempt(NOW + ms(later), attempt_timeout).judges
        };
        assert!(judges(Some(ms(500)), None, 0, None), "the whole deadline");
        assert!(judges(Some(ms(500)), None, 0, Some(ms(100))), "the whole attempt timeout");
        assert!(judges(Some(ms(500)), Some(ms(499)), 0, None), "a tier that hands on what is left");
        assert!(!judges(Some(ms(500)), Some(ms(100)), 0, None), "a hurried caller");
        assert!(!judges(Some(ms(500)), None, 400, None), "a queue that used the time up");
        assert!(!judges(Some(ms(500)), None, 450, Some(ms(100))), "a last attempt cut short");
        assert!(!judges(None, Some(ms(100)), 0, None), "a limit that is the caller's alone");
        assert!(!judges(None, None, 0, None), "no limit at all");
    }
}
