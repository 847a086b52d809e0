//! How SQLite is opened, so that a commit means what we say it means.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::checkpoint::{Mode, checkpoint};
use super::config::{PAGE_BYTES, StoreConfig};
use super::directory::Directory;
use super::open_error::OpenError;
use super::renewal::renew_log;
use super::schema::{self, MIGRATIONS, Origin};

/// Opens the database for the writer: recovered, of the present version, and with nothing in its log.
pub(super) fn open_writer(directory: &Directory, config: &StoreConfig) -> Result<Connection, OpenError> {
    let database = &directory.database();
    let sqlite = |source| OpenError::sqlite(database, source);
    renew_log(directory, config)?;
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(database, flags).map_err(sqlite)?;
    common(&connection, config).map_err(sqlite)?;
    let origin = schema::origin(&connection, database)?;
    durability(&connection, config, origin).map_err(sqlite)?;
    schema::migrate(&mut connection, database, origin, MIGRATIONS)?;
    if !log_ahead(&connection).map_err(sqlite)? {
        return Err(OpenError::busy(database));
    }
    // Before the first write: whatever a process before this one left in the log is in the database, synced.
    let emptied = checkpoint(&connection, Mode::Truncate).map_err(sqlite)?;
    if emptied.busy {
        return Err(OpenError::busy(database));
    }
    directory.sync()?;
    Ok(connection)
}

/// Opens a database for reading, beside whoever writes it.
pub(super) fn open_reader(database: &Path, config: &StoreConfig) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(database, flags)?;
        common(&connection, config)?;
        connection.pragma_update(None, "query_only", true)?;
        set_cache(&connection, config.reader_cache.bytes())?;
        Ok(connection)
    };
    open().map_err(|source| OpenError::sqlite(database, source))
}

/// What holds for every connection.
pub(super) fn common(connection: &Connection, config: &StoreConfig) -> rusqlite::Result<()> {
    connection.busy_timeout(config.busy_wait)?;
    connection.set_prepared_statement_cache_capacity(config.statements.get() as usize);
    // SQLite would check-point when the last connection closes. After a failed sync that would move pages that
    // the disk may not have; a store that is whole empties its log by itself.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // An I/O error in mapped memory is a signal that ends the process instead of an error.
    connection.pragma_update_and_check(None, "mmap_size", 0, |_| Ok(()))
}

fn durability(connection: &Connection, config: &StoreConfig, origin: Origin) -> rusqlite::Result<()> {
    if origin == Origin::New {
        connection.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
        connection.pragma_update(None, "auto_vacuum", "incremental")?;
    }
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    // With a limit SQLite would cut the log at each commit that starts it anew, even when its sync failed.
    connection.pragma_update_and_check(None, "journal_size_limit", -1, |_| Ok(()))?;
    set_cache(connection, config.cache.bytes())
}

/// Has the database write to a log ahead, and says whether it now does.
///
/// The answer of the statement comes before its commit. One who reads only the answer does not learn that the
/// commit failed, and goes on with a journal that is written anew for each transaction.
fn log_ahead(connection: &Connection) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare("PRAGMA journal_mode = wal")?;
    let mut answers = statement.query([])?;
    while answers.next()?.is_some() {}
    let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    Ok(journal == "wal")
}

/// A negative number is one of KiB.
fn set_cache(connection: &Connection, bytes: u64) -> rusqlite::Result<()> {
    let kibibytes = i64::try_from(bytes / 1024).unwrap_or(i64::MAX);
    connection.pragma_update(None, "cache_size", -kibibytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_synced_and_no_file_is_mapped() {
        let place = tempfile::tempdir().expect("directory");
        let directory = Directory::open(place.path()).expect("locks");
        let config = StoreConfig::default();
        let writer = open_writer(&directory, &config).expect("opens");
        let reader = open_reader(&directory.database(), &config).expect("opens");
        let number = |connection: &Connection, pragma: &str| {
            connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).expect(pragma)
        };
        for (pragma, expected) in [
            ("synchronous", 2),
            ("auto_vacuum", 2),
            ("page_size", 4096),
            ("foreign_keys", 0),
            ("wal_autocheckpoint", 0),
            ("journal_size_limit", -1),
            ("cache_size", -64 * 1024),
        ] {
            assert_eq!(number(&writer, pragma), expected, "{pragma}");
        }
        assert_eq!(number(&reader, "cache_size"), -8 * 1024);
        assert_eq!(number(&reader, "query_only"), 1);
        for connection in [&writer, &reader] {
            for (pragma, expected) in [("mmap_size", 0), ("cell_size_check", 1), ("trusted_schema", 0)] {
                assert_eq!(number(connection, pragma), expected, "{pragma}");
            }
            let is_set = connection.db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE).expect("is known");
            assert!(is_set, "closing does not move pages");
        }
    }
}
