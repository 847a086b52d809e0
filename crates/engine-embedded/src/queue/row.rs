//! One message in the database.

use rusqlite::{Connection, OptionalExtension, Params, Row as SqlRow, params};

use super::tables::{key, place};
use crate::moment::Moment;

/// A message without what it says.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) number: i64,
    pub(super) position: u64,
    pub(super) stored: Moment,
    pub(super) priority: u8,
    /// Deliveries that are over and counted.
    pub(super) deliveries: u32,
    pub(super) due: Moment,
    /// When it might have been delivered first.
    pub(super) first_due: Moment,
    /// Its own end, which it was sent with.
    pub(super) expires: Option<Moment>,
    /// When it dies if it still waits then: of its own end and that of its queue the earlier.
    pub(super) ends: Option<Moment>,
    /// Its group, in a queue that has groups.
    pub(super) member: Option<Box<str>>,
    /// Why it is dead, if it is, in JSON.
    pub(super) dead: Option<String>,
    pub(super) bytes: u64,
}

/// The columns of a [`Row`], in its order. Of what is no content there is no length, so that it is no row.
macro_rules! columns {
    () => {
        "message.id, stored, priority, deliveries, due, first_due, expires, ends, member, dead, \
         CASE typeof(content) WHEN 'blob' THEN length(content) END"
    };
}
pub(super) const COLUMNS: &str = columns!();

impl Row {
    pub(super) fn of(row: &SqlRow<'_>) -> rusqlite::Result<Self> {
        let (number, position) = place(row.get(0)?);
        Ok(Self {
            number,
            position,
            stored: row.get(1)?,
            priority: row.get(2)?,
            deliveries: row.get(3)?,
            due: row.get(4)?,
            first_due: row.get(5)?,
            expires: row.get(6)?,
            ends: row.get(7)?,
            member: row.get(8)?,
            dead: row.get(9)?,
            bytes: row.get::<_, i64>(10)?.cast_unsigned(),
        })
    }

    pub(super) fn key(&self) -> i64 {
        key(self.number, self.position)
    }

    /// Whether it has waited since it was stored, so that among its like the oldest is the first.
    pub(super) fn is_fresh(&self) -> bool {
        self.due == self.stored
    }
}

/// Runs a statement that is kept prepared.
pub(super) fn run(connection: &Connection, sql: &str, values: impl Params) -> rusqlite::Result<usize> {
    connection.prepare_cached(sql)?.execute(values)
}

pub(super) fn insert(connection: &Connection, row: &Row, content: &[u8]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    run(
        connection,
        sql,
        params![
            row.key(),
            row.stored,
            row.priority,
            row.deliveries,
            row.due,
            row.first_due,
            row.expires,
            row.ends,
            row.member,
            row.dead,
            content,
        ],
    )
    .map(|_| ())
}

/// What was found, if it is there and can be read. Who knows that it must be there tells of it.
pub(super) fn readable<T>(found: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    match found.optional() {
        Err(FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..)) => Ok(None),
        found => found,
    }
}

pub(super) fn read(connection: &Connection, number: i64, position: u64) -> rusqlite::Result<Option<Row>> {
    let sql = concat!("SELECT ", columns!(), " FROM message WHERE id = ?1");
    readable(connection.prepare_cached(sql)?.query_row([key(number, position)], Row::of))
}

/// The message and what it says.
pub(super) fn read_whole(
    connection: &Connection,
    number: i64,
    position: u64,
) -> rusqlite::Result<Option<(Row, Vec<u8>)>> {
    let sql = concat!("SELECT ", columns!(), ", content FROM message WHERE id = ?1");
    let whole = |row: &SqlRow<'_>| Ok((Row::of(row)?, row.get(11)?));
    readable(connection.prepare_cached(sql)?.query_row([key(number, position)], whole))
}

/// What the message says, and why it is dead, if it is.
pub(super) fn content_and_dead(
    connection: &Connection,
    key: i64,
) -> rusqlite::Result<Option<(Vec<u8>, Option<String>)>> {
    let sql = "SELECT content, dead FROM message WHERE id = ?1";
    readable(connection.prepare_cached(sql)?.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))))
}
