use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use intertie_core::quantity::Ratio;

use super::config::RetryConfig;
use crate::deadline::Deadline;

/// The retry schedule of one call.
///
/// After each failed attempt [`Retry::next`] says how long to wait before the next one, or why there is
/// none. Asking costs no budget: the caller withdraws from it once the next attempt is certain.
#[derive(Debug, Clone, Copy)]
pub struct Retry<'a> {
    config: &'a RetryConfig,
    attempts: u32,
    /// The wait before the last attempt, as computed.
    before: Option<Duration>,
}

/// Why a call is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The outcome needs no repetition or none can mend it.
    NotRetriable,
    /// All attempts are used.
    AttemptsUsed,
    /// The dependency asks for a longer wait than `retry_after_max`.
    HintTooLong,
    /// The next attempt would begin after the deadline.
    DeadlineTooClose,
}

impl<'a> Retry<'a> {
    /// A call that is about to make its first attempt.
    pub fn new(config: &'a RetryConfig) -> Self {
        Self { config, attempts: 1, before: None }
    }

    /// Attempts begun, the first included.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The wait before the next attempt after one that ended in `class`.
    ///
    /// `retry_after` is the dependency's hint; the wait is never shorter. `random` between 0 and 1 chooses
    /// the jitter.
    ///
    /// # Errors
    /// Why there is no next attempt.
    pub fn next(
        &mut self,
        now: Instant,
        deadline: Deadline,
        class: Class,
        retry_after: Option<Duration>,
        random: Ratio,
    ) -> Result<Duration, Stop> {
        if !class.is_retriable() {
            return Err(Stop::NotRetriable);
        }
        if self.attempts >= self.config.attempts.get() {
            return Err(Stop::AttemptsUsed);
        }
        if retry_after.is_some_and(|hint| hint > self.config.retry_after_max) {
            return Err(Stop::HintTooLong);
        }
        let computed = self.config.next_wait(self.attempts, self.before, random);
        // The hint is jittered too: it must not be fired early, nor by all who got it together.
        let hinted = retry_after.map(|hint| hint.saturating_add(self.config.jitter_at(hint, random)));
        let wait = computed.max(hinted.unwrap_or_default());
        if !deadline.outlasts(now, wait) {
            return Err(Stop::DeadlineTooClose);
        }
        self.attempts += 1;
        self.before = Some(computed);
        Ok(wait)
    }
}
