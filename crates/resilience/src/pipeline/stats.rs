use crate::striped::StripedCounters;

/// What a pipeline did since it was made. A call is counted once, when it ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls whose operation succeeded in the end.
    pub succeeded: u64,
    /// Calls whose operation failed in the end.
    pub failed: u64,
    /// Calls that a policy refused.
    pub rejected: u64,
    /// Calls whose deadline was over first.
    pub deadline_exceeded: u64,
    /// Calls that were dropped before they ended.
    pub cancelled: u64,
    /// Calls that failed and were answered, or failed otherwise, by a fallback.
    pub fell_back: u64,
    /// Attempts after the first of a call.
    pub retries: u64,
    /// Attempts that took longer than `attempt_timeout`.
    pub attempt_timeouts: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Counter {
    Succeeded,
    Failed,
    Rejected,
    DeadlineExceeded,
    Cancelled,
    FellBack,
    Retries,
    AttemptTimeouts,
}

const COUNTERS: usize = 8;

/// The counters, each thread's on a line of its own.
#[derive(Debug, Default)]
pub(super) struct Counters(StripedCounters<COUNTERS>);

impl Counters {
    pub(super) fn increment(&self, counter: Counter) {
        self.0.increment(counter as usize);
    }

    pub(super) fn read(&self) -> Stats {
        let sum = |counter: Counter| self.0.sum(counter as usize);
        Stats {
            succeeded: sum(Counter::Succeeded),
            failed: sum(Counter::Failed),
            rejected: sum(Counter::Rejected),
            deadline_exceeded: sum(Counter::DeadlineExceeded),
            cancelled: sum(Counter::Cancelled),
            fell_back: sum(Counter::FellBack),
            retries: sum(Counter::Retries),
            attempt_timeouts: sum(Counter::AttemptTimeouts),
        }
    }
}
