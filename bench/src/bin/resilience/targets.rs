//! What we set out to reach, as the issue has it.

use std::fmt;

use crate::subject::Row;
use crate::{keyed, rivals};

/// A bound for one of ours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// At most so many readings of the clock.
    Clock(f64),
    /// At most so many times what a peer costs.
    Times(f64, &'static str),
    /// At most so many bytes for each key.
    BytesPerKey(f64),
    /// None at all.
    NoAllocation,
    /// At least this share of the throughput of two threads with one object each.
    Sharing(f64),
}

/// What a call may cost on one thread.
pub fn of(row: Row) -> &'static [Goal] {
    use Goal::{BytesPerKey, Clock, NoAllocation, Times};
    match row {
        Row::Closed | Row::Failing => &[Clock(2.0), NoAllocation],
        Row::Consecutive => &[Clock(0.3), NoAllocation],
        Row::Open | Row::Timeout => &[Clock(1.4), NoAllocation],
        Row::Retry => &[Clock(0.2), NoAllocation],
        Row::Limiter => &[Clock(1.6), Times(1.0, rivals::governor::SAME_CLOCK), NoAllocation],
        Row::Keyed => &[Times(0.7, keyed::GOVERNOR), BytesPerKey(40.0)],
        Row::Bulkhead => &[Clock(0.9), NoAllocation],
        Row::Pool | Row::Alone => &[],
        Row::Pipeline => &[Clock(3.5), Times(0.08, rivals::tower_resilience::NAME), NoAllocation],
    }
}

/// How much two threads may lose by sharing.
pub fn of_two_threads(row: Row) -> Option<Goal> {
    match row {
        Row::Closed | Row::Bulkhead | Row::Pipeline => Some(Goal::Sharing(0.85)),
        Row::Failing => Some(Goal::Sharing(0.7)),
        _ => None,
    }
}

impl Goal {
    /// The goal and whether `figure`, in the goal's unit, meets it. What was not measured meets nothing.
    pub fn verdict(self, figure: Option<f64>) -> String {
        let Some(figure) = figure else { return format!("{self}: not measured") };
        let met = match self {
            Self::Clock(most) | Self::Times(most, _) | Self::BytesPerKey(most) => figure <= most,
            Self::NoAllocation => figure == 0.0,
            Self::Sharing(least) => figure >= least,
        };
        let word = if met { "met" } else { "missed" };
        match self {
            Self::Times(..) => format!("{self}: {word} ({figure:.2})"),
            _ => format!("{self}: {word}"),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock(most) => write!(f, "≤ {most} C"),
            Self::Times(most, whom) => write!(f, "≤ {most} × {whom}"),
            Self::BytesPerKey(most) => write!(f, "≤ {most} B"),
            Self::NoAllocation => f.write_str("no allocation"),
            Self::Sharing(least) => write!(f, "≥ {least}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_at_its_bound_and_missed_beyond_it() {
        assert_eq!(Goal::Clock(2.0).verdict(Some(2.0)), "≤ 2 C: met");
        assert_eq!(Goal::Clock(2.0).verdict(Some(2.1)), "≤ 2 C: missed");
        assert_eq!(Goal::Sharing(0.85).verdict(Some(0.85)), "≥ 0.85: met");
        assert_eq!(Goal::Sharing(0.85).verdict(Some(0.8)), "≥ 0.85: missed");
        assert_eq!(Goal::Times(0.7, "x").verdict(Some(0.5)), "≤ 0.7 × x: met (0.50)");
        assert_eq!(Goal::NoAllocation.verdict(Some(1.0)), "no allocation: missed");
        assert_eq!(Goal::Clock(2.0).verdict(None), "≤ 2 C: not measured");
    }
}
