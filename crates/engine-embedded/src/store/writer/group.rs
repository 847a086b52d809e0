//! One transaction of many commands.

use intertie_core::clock::Timestamp;
use rusqlite::Connection;

use super::failure::{Failure, Step};
use super::state::State;

/// What a command came to, told once its group is durable.
#[derive(Debug)]
pub(super) enum Verdict<S: State> {
    Applied(S::Reply),
    Refused(S::Refusal),
}

/// Begins a transaction and applies the commands that their checks let through.
///
/// `data_version` is what the database had when the state was loaded; another one means that another program
/// wrote to it since.
pub(super) fn apply<S: State>(
    connection: &Connection,
    state: &mut S,
    commands: Vec<S::Command>,
    data_version: i64,
    now: Timestamp,
) -> Result<Vec<Verdict<S>>, Failure> {
    let begin = |source| Failure::sqlite(Step::Begin, source);
    execute(connection, "BEGIN IMMEDIATE").map_err(begin)?;
    if self::data_version(connection).map_err(begin)? != data_version {
        return Err(Failure::ForeignWrite);
    }
    let verdicts = commands.into_iter().map(|command| {
        let changes = connection.total_changes();
        let checked = state.check(connection, &command, now)?;
        debug_assert_eq!(changes, connection.total_changes(), "a check wrote to the database");
        match checked {
            Ok(()) => state.apply(connection, command, now).map(Verdict::Applied),
            Err(refusal) => Ok(Verdict::Refused(refusal)),
        }
    });
    let verdicts: rusqlite::Result<_> = verdicts.collect();
    verdicts.map_err(|source| Failure::sqlite(Step::Apply, source))
}

/// Makes what was applied durable: when this returns, the log is synced. Without a write it costs no sync.
pub(super) fn commit(connection: &Connection) -> Result<(), Failure> {
    execute(connection, "COMMIT").map_err(|source| Failure::sqlite(Step::Commit, source))
}

/// Changes whenever another connection has written to the database.
pub(super) fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

/// Gives up to `most` of the free pages above `kept` back to the file system, and says whether there were any.
pub(super) fn give_back(connection: &Connection, kept: u64, most: u64) -> rusqlite::Result<bool> {
    let free: u32 = connection.prepare_cached("PRAGMA freelist_count")?.query_row([], |row| row.get(0))?;
    let pages = u64::from(free).saturating_sub(kept).min(most);
    if pages == 0 {
        return Ok(false);
    }
    // Each row is a page that was given back.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut given = statement.query([])?;
    while given.next()?.is_some() {}
    Ok(true)
}

fn execute(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(|_| ())
}
