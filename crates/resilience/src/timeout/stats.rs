use crate::striped::StripedCounters;

/// What a timeout did since it was made. A call is counted once, when it ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Operations that ended within their limit, whatever their outcome.
    pub finished: u64,
    /// Operations that were told of their limit and ended by themselves within their grace.
    pub finished_late: u64,
    /// Operations that were given up.
    pub timed_out: u64,
    /// Calls that were dropped before they ended, or whose operation panicked.
    pub cancelled: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Counter {
    Finished,
    FinishedLate,
    TimedOut,
    Cancelled,
}

#[derive(Debug, Default)]
pub(super) struct Counters(StripedCounters<4>);

impl Counters {
    pub(super) fn increment(&self, counter: Counter) {
        self.0.increment(counter as usize);
    }

    pub(super) fn read(&self) -> Stats {
        let sum = |counter: Counter| self.0.sum(counter as usize);
        Stats {
            finished: sum(Counter::Finished),
            finished_late: sum(Counter::FinishedLate),
            timed_out: sum(Counter::TimedOut),
            cancelled: sum(Counter::Cancelled),
        }
    }
}
