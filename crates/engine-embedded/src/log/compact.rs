//! Records that replace others of their key.

use intertie_messaging::Name;
use rusqlite::{Connection, OptionalExtension, params};

use super::tables::{integer, key};
use super::{Row, Topics, insert};
use crate::moment::{Moment, later};
use crate::statement::run;

impl Topics {
    /// Stores a record that has a key, and takes the one before it away.
    pub(super) fn replace(
        &mut self,
        connection: &Connection,
        name: &Name,
        partition: u32,
        row: &Row,
        record_key: &str,
        is_end: bool,
    ) -> rusqlite::Result<()> {
        let Some(topic) = self.topics.get_mut(name) else { return Ok(()) };
        let (retention, own) = (topic.spec.retention, &mut topic.partitions[partition as usize]);
        let number = own.number;
        insert(connection, row)?;
        let sql = "SELECT position, ends FROM record_key WHERE partition = ?1 AND key = ?2";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0).ok(), integer(row, 1) != 0));
        let before: Option<(Option<i64>, bool)> =
            connection.prepare_cached(sql)?.query_row(params![number, record_key], read).optional()?;
        // Where one that can not be read stands nobody knows: it stays, rather than the record of another key goes.
        if let Some((Some(before), was_end)) = before {
            let id = key(number, before.cast_unsigned());
            own.remove(1, remove(connection, id)?);
            if was_end {
                run(connection, "DELETE FROM record_tombstone WHERE id = ?1", [id])?;
            }
        }
        let position = super::tables::position(row.id).cast_signed();
        let sql = "INSERT OR REPLACE INTO record_key VALUES (?1, ?2, ?3, ?4)";
        run(connection, sql, params![number, record_key, position, is_end])?;
        if is_end {
            let sql = "INSERT INTO record_tombstone VALUES (?1, ?2, ?3)";
            run(connection, sql, params![row.id, row.stored, record_key])?;
            self.set_alarm(name, partition, later(row.stored, retention));
        }
        Ok(())
    }

    /// Removes tombstones that were kept for their time, up to so many; how many, and when the next one is due.
    pub(super) fn end_keys(
        &mut self,
        connection: &Connection,
        name: &Name,
        partition: u32,
        most: usize,
        now: Moment,
    ) -> rusqlite::Result<(usize, Option<Moment>)> {
        let Some(topic) = self.topics.get_mut(name) else { return Ok((0, None)) };
        let (retention, own) = (topic.spec.retention, &mut topic.partitions[partition as usize]);
        let sql =
            "SELECT id, stored, key FROM record_tombstone WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3";
        let mut statement = connection.prepare_cached(sql)?;
        let limit = i64::try_from(most).unwrap_or(i64::MAX - 1) + 1;
        let tombstones: Vec<(i64, Moment, String)> = statement
            .query_map([key(own.number, 0), key(own.number, u64::MAX), limit], |row| {
                Ok((row.get(0)?, integer(row, 1), row.get(2).unwrap_or_default()))
            })?
            .collect::<Result<_, _>>()?;
        let mut ended = 0;
        for (id, stored, record_key) in tombstones {
            let due = later(stored, retention);
            if due > now || ended == most {
                return Ok((ended, Some(due)));
            }
            own.remove(1, remove(connection, id)?);
            let sql = "DELETE FROM record_key WHERE partition = ?1 AND key = ?2";
            run(connection, sql, params![own.number, record_key])?;
            run(connection, "DELETE FROM record_tombstone WHERE id = ?1", [id])?;
            ended += 1;
        }
        Ok((ended, None))
    }
}

/// Removes a record; how many bytes it had.
fn remove(connection: &Connection, id: i64) -> rusqlite::Result<u64> {
    let sql = "SELECT length(content) FROM record WHERE id = ?1";
    let bytes: Option<i64> = connection.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
    run(connection, "DELETE FROM record WHERE id = ?1", [id])?;
    Ok(bytes.unwrap_or(0).cast_unsigned())
}
