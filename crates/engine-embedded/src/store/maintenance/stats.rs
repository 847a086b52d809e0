use std::fs;
use std::path::Path;

use rusqlite::Connection;

use super::super::directory::DATABASE;
use super::{MaintenanceError, Progress, open};

/// How large a data directory is, and what takes the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// The schema version of the database.
    pub schema_version: u32,
    /// The size of the database file.
    pub database_bytes: u64,
    /// The size of the write-ahead log's file, which is used again and again.
    pub wal_bytes: u64,
    /// The size of a page.
    pub page_bytes: u32,
    /// The pages of the database.
    pub pages: u32,
    /// Those of them that hold nothing and are used next.
    pub free_pages: u32,
    /// The tables, by name.
    pub tables: Vec<TableStats>,
}

/// What one table takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableStats {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// The pages of the table and its indexes, in bytes.
    pub bytes: u64,
}

/// Counts what is in the database in `directory`. It reads every page once, and tells of each table.
///
/// # Errors
/// When the database can not be opened or read.
pub fn stats(directory: &Path, mut progress: impl FnMut(Progress)) -> Result<Stats, MaintenanceError> {
    let database = directory.join(DATABASE);
    let connection = open(&database)?;
    let sqlite = |source| MaintenanceError::sqlite(&database, source);
    let names = tables(&connection).map_err(sqlite)?;
    let total = names.len() as u64;
    let mut tables = Vec::new();
    for (done, name) in (0..).zip(names) {
        progress(Progress { done, total });
        tables.push(table(&connection, name).map_err(sqlite)?);
    }
    progress(Progress { done: total, total });
    let number =
        |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, u32>(0)).map_err(sqlite);
    // Looked up by name: whoever opens and closes a file of SQLite's by itself, releases the locks of its process.
    let size = |name: &str| fs::metadata(directory.join(name)).map_or(0, |metadata| metadata.len());
    Ok(Stats {
        schema_version: number("user_version")?,
        database_bytes: size(DATABASE),
        wal_bytes: size(&format!("{DATABASE}-wal")),
        page_bytes: number("page_size")?,
        pages: number("page_count")?,
        free_pages: number("freelist_count")?,
        tables,
    })
}

fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name";
    connection.prepare(names)?.query_map([], |row| row.get(0))?.collect()
}

fn table(connection: &Connection, name: String) -> rusqlite::Result<TableStats> {
    let quoted = name.replace('"', "\"\"");
    let rows: i64 =
        connection.query_row(&format!("SELECT count(*) FROM \"{quoted}\""), [], |row| row.get(0))?;
    let bytes = "SELECT coalesce(sum(size), 0) FROM (
                   SELECT (SELECT sum(pgsize) FROM dbstat WHERE dbstat.name = part.name AND aggregate = TRUE) AS size
                   FROM sqlite_schema AS part WHERE part.tbl_name = ?1 AND part.rootpage > 0)";
    let bytes: i64 = connection.query_row(bytes, [&name], |row| row.get(0))?;
    Ok(TableStats { name, rows: rows.cast_unsigned(), bytes: bytes.cast_unsigned() })
}
