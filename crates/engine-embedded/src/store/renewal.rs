//! What a process before this one left in its log, made sure of.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::config::StoreConfig;
use super::database::common;
use super::directory::{DATABASE, Directory, sync_directory};
use super::open_error::OpenError;
use super::schema;

/// Replaces a log that was left behind by a synced copy of itself.
///
/// After a failed sync the kernel takes pages that it could not write for written. A reader still finds them,
/// the next sync says yes, and the disk does not have them. A checkpoint that believed it would move pages of a
/// transaction whose log a power cut then removes: half of it would stay in the database. A copy has no such past.
/// It is not made in place, since a power cut may spoil what is being overwritten, and that was acknowledged.
///
/// Nobody else may have the database open meanwhile: they would go on with the log that no longer has a name.
pub(super) fn renew_log(directory: &Directory, config: &StoreConfig) -> Result<(), OpenError> {
    let (database, wal) = (&directory.database(), &directory.wal());
    match fs::metadata(wal) {
        Ok(metadata) if metadata.len() > 0 => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(OpenError::io(wal, source)),
    }
    let sqlite = |source| OpenError::sqlite(database, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags).map_err(sqlite)?;
    common(&connection, config).map_err(sqlite)?;
    connection.pragma_update_and_check(None, "locking_mode", "exclusive", |_| Ok(())).map_err(sqlite)?;
    connection.execute_batch("BEGIN IMMEDIATE").map_err(sqlite)?;
    schema::origin(&connection, database)?;
    let copy = &directory.path().join(format!("{DATABASE}-wal.renewed"));
    replace(wal, copy).map_err(|source| OpenError::io(wal, source))?;
    connection.close().map_err(|(_, source)| sqlite(source))
}

fn replace(file: &Path, copy: &Path) -> io::Result<()> {
    let copied = fs::copy(file, copy).and_then(|_| File::open(copy)?.sync_all());
    if let Err(error) = copied {
        // On a full disk it would stand in the way of the next try.
        let _ = fs::remove_file(copy);
        return Err(error);
    }
    fs::rename(copy, file)?;
    file.parent().map_or(Ok(()), sync_directory)
}
