use rusqlite::{Connection, Params};

/// Runs a statement that is kept prepared.
pub(crate) fn run(connection: &Connection, sql: &str, values: impl Params) -> rusqlite::Result<usize> {
    connection.prepare_cached(sql)?.execute(values)
}
