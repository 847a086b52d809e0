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
    at: Option<Instant>,
    set_by: SetBy,
}

/// Whose limit a deadline is. A breaker must not take a hurried caller for a slow dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetBy {
    /// Our own configuration.
    Us,
    /// The caller allowed less time than our configuration.
    Caller,
}

impl Deadline {
    /// The earlier of what `configured` and the caller's `remaining` allow from `now` on.
    pub fn new(now: Instant, configured: Option<Duration>, remaining: Option<Duration>) -> Self {
        let (limit, set_by) = match (configured, remaining) {
            (Some(ours), Some(theirs)) if theirs < ours => (Some(theirs), SetBy::Caller),
            (Some(ours), _) => (Some(ours), SetBy::Us),
            (None, Some(theirs)) => (Some(theirs), SetBy::Caller),
            (None, None) => (None, SetBy::Us),
        };
        Self { at: limit.map(|limit| now + limit), set_by }
    }

    /// The instant at which the call ends.
    pub fn at(self) -> Option<Instant> {
        self.at
    }

    /// Whose limit it is.
    pub fn set_by(self) -> SetBy {
        self.set_by
    }

    /// What is left, `None` when the call may last for ever.
    pub fn remaining(self, now: Instant) -> Option<Duration> {
        self.at.map(|at| at.saturating_since(now))
    }

    /// Whether nothing is left.
    pub fn is_over(self, now: Instant) -> bool {
        self.at.is_some_and(|at| now >= at)
    }

    /// Whether waiting for `wait` leaves any time afterwards.
    pub fn outlasts(self, now: Instant, wait: Duration) -> bool {
        self.at.is_none_or(|at| now + wait < at)
    }

    /// The end of an attempt that begins now, and which limit that is.
    pub fn attempt(self, now: Instant, attempt_timeout: Option<Duration>) -> AttemptLimit {
        let timeout = attempt_timeout.map(|timeout| now + timeout);
        match (timeout, self.at) {
            (Some(timeout), Some(at)) if at < timeout => {
                AttemptLimit { at: Some(at), by: LimitedBy::Deadline }
            }
            (Some(timeout), _) => AttemptLimit { at: Some(timeout), by: LimitedBy::AttemptTimeout },
            (None, at) => AttemptLimit { at, by: LimitedBy::Deadline },
        }
    }
}

/// The end of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptLimit {
    /// When it ends; `None` when it may last for ever.
    pub at: Option<Instant>,
    /// Which limit ends it.
    pub by: LimitedBy,
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
        let short = Deadline::new(NOW, Some(ms(30)), Some(ms(10)));
        assert_eq!((short.remaining(NOW), short.set_by()), (Some(ms(10)), SetBy::Caller));
        let long = Deadline::new(NOW, Some(ms(30)), Some(ms(90)));
        assert_eq!((long.remaining(NOW), long.set_by()), (Some(ms(30)), SetBy::Us));
        assert_eq!(Deadline::new(NOW, None, None).remaining(NOW), None);
    }

    #[test]
    fn an_attempt_ends_with_the_call_at_the_latest() {
        let deadline = Deadline::new(NOW, Some(ms(30)), None);
        let first = deadline.attempt(NOW, Some(ms(20)));
        assert_eq!(first, AttemptLimit { at: Some(NOW + ms(20)), by: LimitedBy::AttemptTimeout });
        let second = deadline.attempt(NOW + ms(20), Some(ms(20)));
        assert_eq!(second, AttemptLimit { at: Some(NOW + ms(30)), by: LimitedBy::Deadline });
        assert!(deadline.outlasts(NOW, ms(29)) && !deadline.outlasts(NOW, ms(30)));
        assert!(deadline.is_over(NOW + ms(30)));
    }
}
