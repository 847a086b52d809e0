//! Where records stand.

use intertie_messaging::log::{Cleanup, StartAt};
use rusqlite::{Connection, OptionalExtension};

use super::tables::{integer, key, position};
use crate::moment::{Moment, moment};

/// The first record of a partition from a position on and before its `end`, and when it was stored.
pub(super) fn first(
    connection: &Connection,
    number: i64,
    from: u64,
    end: u64,
) -> rusqlite::Result<Option<(u64, Moment)>> {
    if from >= end {
        return Ok(None);
    }
    let sql = "SELECT id, stored FROM record WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| Ok((position(row.get(0)?), integer(row, 1)));
    connection.prepare_cached(sql)?.query_row([key(number, from), key(number, end - 1)], read).optional()
}

/// The position of the first record before `end` that `at` names, or `end`.
pub(crate) fn find(connection: &Connection, number: i64, at: StartAt, end: u64) -> rusqlite::Result<u64> {
    let found = match at {
        StartAt::End => None,
        StartAt::Beginning => first(connection, number, 0, end)?.map(|(position, _)| position),
        StartAt::Position(from) => first(connection, number, from, end)?.map(|(position, _)| position),
        StartAt::Time(time) => first_at(moment(time), end, |from| first(connection, number, from, end))?,
    };
    Ok(found.unwrap_or(end))
}

/// The first record that was stored at `time` or later. `probe` tells the first one from a position on; time does not
/// run back from one to the next.
fn first_at<E>(
    time: Moment,
    end: u64,
    mut probe: impl FnMut(u64) -> Result<Option<(u64, Moment)>, E>,
) -> Result<Option<u64>, E> {
    let Some((mut low, _)) = probe(0)? else { return Ok(None) };
    let (mut high, mut found) = (end, None);
    // Whatever stands before `low` is earlier; whatever stands from `high` on and is late enough is `found`, or behind it.
    while low < high {
        let middle = low + (high - low) / 2;
        match probe(middle)? {
            Some((position, stored)) if stored < time => low = position + 1,
            Some((position, _)) => (high, found) = (middle, Some(position)),
            None => high = middle,
        }
    }
    Ok(found)
}

/// Where a group begins. What is known of a partition in memory needs no look at the file: its end, and the beginning
/// and each position of one without gaps.
pub(super) fn start(
    connection: &Connection,
    partition: &super::Partition,
    cleanup: Cleanup,
    at: StartAt,
) -> rusqlite::Result<u64> {
    let (first, next) = (partition.first(), partition.next);
    match (at, cleanup) {
        (StartAt::End, _) => Ok(next),
        (StartAt::Beginning, Cleanup::Delete) => Ok(first),
        (StartAt::Position(position), Cleanup::Delete) => Ok(position.clamp(first, next)),
        _ => find(connection, partition.number, at, next),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_moment_is_found_as_by_looking_at_each_record(
            steps in prop::collection::vec((1..20_u64, 0..3_i64), 0..40),
            behind in 0..5_u64,
            time in 0..80_i64,
        ) {
            let (mut position, mut stored) = (0, 0);
            let records: Vec<_> = steps
                .into_iter()
                .map(|(gap, later)| {
                    (position, stored) = (position + gap, stored + later);
                    (position, stored)
                })
                .collect();
            let mut probes = 0;
            let probe = |from| {
                probes += 1;
                Ok::<_, Infallible>(records.iter().copied().find(|(position, _)| *position >= from))
            };
            let found = first_at(time, position + 1 + behind, probe);
            let expected = records.iter().find(|(_, stored)| *stored >= time).map(|(position, _)| *position);
            prop_assert_eq!(found, Ok(expected));
            prop_assert!(probes <= 12, "{} for {} records", probes, records.len());
        }
    }
}
