use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::log::Lines;
use super::tally::Tally;

/// What would change.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether anything would.
    pub(super) changed: bool,
    pub(super) requests: u64,
    /// From the first request to the last.
    pub(super) seconds: f64,
    /// All routes together, and what none takes.
    pub(super) total: Change,
    /// Requests that take another route, the most first.
    pub(super) moves: Vec<Move>,
    /// By route, the largest change first.
    pub(super) routes: Vec<RouteChange>,
    pub(super) lines: Lines,
    pub(super) assumed: Vec<String>,
    pub(super) left_out: Vec<String>,
}

/// Requests that take another route, or the same to another service.
#[derive(Debug, Serialize)]
pub(super) struct Move {
    pub(super) requests: u64,
    pub(super) old: String,
    pub(super) new: String,
    /// The first of them.
    pub(super) example: String,
}

/// One route under both files. A file without it leaves its side empty.
#[derive(Debug, Default, Serialize)]
pub(super) struct RouteChange {
    /// Its name; empty for what no route takes.
    pub(super) route: String,
    #[serde(flatten)]
    pub(super) change: Change,
}

/// What became of requests under both files.
#[derive(Debug, Default, Serialize)]
pub(super) struct Change {
    pub(super) old: Tally,
    pub(super) new: Tally,
}

impl Change {
    /// How many requests and attempts are different, at least.
    pub(super) fn size(&self) -> u64 {
        let outcomes: u64 = {
            let all = self.old.outcomes.keys().chain(self.new.outcomes.keys());
            let all: std::collections::BTreeSet<_> = all.collect();
            let of = |tally: &Tally, outcome| tally.outcomes.get(outcome).copied().unwrap_or_default();
            all.into_iter().map(|outcome| of(&self.old, outcome).abs_diff(of(&self.new, outcome))).sum()
        };
        outcomes + self.old.attempts.abs_diff(self.new.attempts)
    }
}

/// The routes of both files by name, and what none takes under the empty one.
pub(super) fn rows(
    old: Vec<(String, Tally)>,
    new: Vec<(String, Tally)>,
    unrouted: (Tally, Tally),
) -> Vec<RouteChange> {
    let mut rows: BTreeMap<String, Change> = BTreeMap::new();
    for (name, tally) in old {
        rows.entry(name).or_default().old = tally;
    }
    for (name, tally) in new {
        rows.entry(name).or_default().new = tally;
    }
    if unrouted.0.requests + unrouted.1.requests > 0 {
        rows.insert(String::new(), Change { old: unrouted.0, new: unrouted.1 });
    }
    rows.into_iter().map(|(route, change)| RouteChange { route, change }).collect()
}

impl Report {
    pub(super) fn new(
        requests: u64,
        span: Duration,
        mut moves: Vec<Move>,
        mut routes: Vec<RouteChange>,
        lines: Lines,
        assumed: Vec<String>,
        left_out: Vec<String>,
    ) -> Self {
        moves.sort_by_key(|moved| Reverse(moved.requests));
        routes.sort_by_key(|route| Reverse(route.change.size()));
        let mut total = Change::default();
        for route in &routes {
            total.old.include(&route.change.old);
            total.new.include(&route.change.new);
        }
        let changed = !moves.is_empty() || routes.iter().any(|route| route.change.size() > 0);
        Self {
            changed,
            requests,
            seconds: span.as_secs_f64(),
            total,
            moves,
            routes,
            lines,
            assumed,
            left_out,
        }
    }
}
