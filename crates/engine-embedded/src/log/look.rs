//! What readers read, beside the writer.

use intertie_messaging::Listing;
use intertie_messaging::Name;
use intertie_messaging::log::{Cleanup, Lag, StartAt};
use rusqlite::{Connection, OptionalExtension, params};

use super::find::{find, first};
use super::tables::{integer, key, place, position};
use crate::moment::{Moment, timestamp};

/// A record as it lies in the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) position: u64,
    pub(crate) stored: Moment,
    pub(crate) content: Vec<u8>,
}

/// The records of a partition from a position on and before its `end`: up to so many, and no more bytes than
/// `bytes_max`, but for the first.
pub(crate) fn page(
    connection: &Connection,
    number: i64,
    from: u64,
    end: u64,
    most: usize,
    bytes_max: u64,
) -> rusqlite::Result<Vec<Kept>> {
    let mut page = Vec::new();
    if from >= end {
        return Ok(page);
    }
    let sql =
        "SELECT id, stored, length(content), content FROM record WHERE id BETWEEN ?1 AND ?2 ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([key(number, from), key(number, end - 1)])?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        bytes += integer(row, 2).cast_unsigned();
        if !page.is_empty() && (page.len() == most || bytes > bytes_max) {
            break;
        }
        // What is damaged comes as what can not be decoded, and those behind it come, too.
        let (stored, content) = (integer(row, 1), row.get(3).unwrap_or_default());
        page.push(Kept { position: position(row.get(0)?), stored, content });
    }
    Ok(page)
}

/// The groups of a topic behind a name.
pub(crate) fn groups(
    connection: &Connection,
    topic: i64,
    listing: &Listing,
) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT name FROM topic_group WHERE topic = ?1 AND name > ?2 ORDER BY name LIMIT ?3";
    let after = listing.after.as_ref().map_or("", Name::as_str);
    let mut statement = connection.prepare_cached(sql)?;
    let names = statement.query_map(params![topic, after, listing.most.get()], |row| row.get(0))?;
    names.collect()
}

/// How far a group is behind in some partitions, each with its number. In a topic that is compacted the records are yet
/// to be counted.
pub(crate) fn lag(
    connection: &Connection,
    (topic, cleanup): (i64, Cleanup),
    group: &Name,
    partitions: &[(u32, i64)],
) -> rusqlite::Result<Vec<Lag>> {
    let sql = "SELECT number FROM topic_group WHERE topic = ?1 AND name = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let group: Option<i64> =
        statement.query_row(params![topic, group.as_str()], |row| row.get(0)).optional()?;
    partitions
        .iter()
        .map(|(partition, number)| lag_of(connection, group, cleanup, *partition, *number))
        .collect()
}

fn lag_of(
    connection: &Connection,
    group: Option<i64>,
    cleanup: Cleanup,
    partition: u32,
    number: i64,
) -> rusqlite::Result<Lag> {
    let sql = "SELECT next, records FROM topic_partition WHERE number = ?1";
    let count = |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).map(i64::cast_unsigned);
    let counters = |row: &rusqlite::Row<'_>| Ok((count(row, 0)?, count(row, 1)?));
    let (end, kept) =
        connection.prepare_cached(sql)?.query_row([number], counters).optional()?.unwrap_or_default();
    let known = match group {
        Some(group) => {
            let sql = "SELECT next FROM topic_position WHERE id = ?1";
            let next = |row: &rusqlite::Row<'_>| row.get::<_, Option<i64>>(0);
            connection.prepare_cached(sql)?.query_row([place(group, partition)], next).optional()?.flatten()
        }
        None => None,
    };
    let position = match known {
        Some(known) => known.cast_unsigned(),
        None => find(connection, number, StartAt::Beginning, end)?,
    };
    let oldest = first(connection, number, position, end)?;
    let records = match (oldest, cleanup) {
        (Some((first, _)), Cleanup::Delete) => (end - first).min(kept),
        _ => 0,
    };
    Ok(Lag { partition, position, end, records, oldest: oldest.map(|(_, stored)| timestamp(stored)) })
}

/// Records that a query counts at most.
const COUNTED: i64 = 10_000;

/// How many records of a partition are kept from a position on and before `end`, as far as one query counts, and where
/// the next one goes on.
pub(crate) fn count(
    connection: &Connection,
    number: i64,
    from: u64,
    end: u64,
) -> rusqlite::Result<(u64, Option<u64>)> {
    if from >= end {
        return Ok((0, None));
    }
    let sql = "SELECT count(*), max(id) FROM
               (SELECT id FROM record WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3)";
    let values = [key(number, from), key(number, end - 1), COUNTED];
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?));
    let (count, last) = connection.prepare_cached(sql)?.query_row(values, read)?;
    let next = last.filter(|_| count == COUNTED).map(|last| position(last) + 1);
    Ok((count.cast_unsigned(), next))
}
