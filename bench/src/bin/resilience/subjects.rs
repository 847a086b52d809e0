//! All of them, row by row, ours first.

use crate::ours;
use crate::rivals;
use crate::subject::{Row, Subject};

/// The subjects of `rows`.
pub fn of(rows: &[Row]) -> Vec<Subject> {
    let all = [
        ours::circuit_breaker::subjects(),
        ours::retry::subjects(),
        ours::timeout::subjects(),
        ours::rate_limiter::subjects(),
        ours::bulkhead::subjects(),
        ours::pool::subjects(),
        ours::alone::subjects(),
        ours::pipeline::subjects(),
        rivals::backon::subjects(),
        rivals::bb8::subjects(),
        rivals::deadpool::subjects(),
        rivals::failsafe::subjects(),
        rivals::governor::subjects(),
        rivals::recloser::subjects(),
        rivals::tokio::subjects(),
        rivals::tower::subjects(),
        rivals::tower_resilience::subjects(),
    ];
    let mut subjects: Vec<_> = all.into_iter().flatten().collect();
    subjects.retain(|subject| rows.contains(&subject.row));
    subjects.sort_by_key(|subject| Row::ALL.iter().position(|row| *row == subject.row));
    subjects
}
