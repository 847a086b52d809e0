//! What a process before this one left in its log, made sure of.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::config::StoreConfig;
use super::database::common;
use super::directory::{Directory, sync_directory};
use super::open_error::OpenError;
use super::schema;

/// Replaces a log that was left behind by a synced copy of itself, for which the reserve has the room.
///
/// After a failed sync the kernel takes pages that it could not write for written. A reader still finds them,
/// the next sync says yes, and the disk does not have them. A checkpoint that believed it would move pages of a
/// transaction whose log a power cut then removes: half of it would stay in the database. A copy has no such past.
/// It is not made in place, since a power cut may spoil what is being overwritten, and that was acknowledged.
///
/// Nobody else may have the database open meanwhile: they would go on with the log that no longer has a name.
pub(super) fn renew_log(directory: &Directory, config: &StoreConfig) -> Result<(), OpenError> {
    let (database, wal, reserve) = (&directory.database(), &directory.wal(), &directory.reserve());
    let log = match fs::metadata(wal) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(source) => return Err(OpenError::io(wal, source)),
    };
    if log == 0 {
        return match fs::remove_file(reserve) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(OpenError::io(reserve, error)),
            _ => Ok(()),
        };
    }
    let sqlite = |source| OpenError::sqlite(database, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags).map_err(sqlite)?;
    common(&connection, config).map_err(sqlite)?;
    connection.pragma_update_and_check(None, "locking_mode", "exclusive", |_| Ok(())).map_err(sqlite)?;
    connection.execute_batch("BEGIN IMMEDIATE").map_err(sqlite)?;
    schema::origin(&connection, database)?;
    replace(wal, reserve).map_err(|source| OpenError::io(wal, source))?;
    connection.close().map_err(|(_, source)| sqlite(source))
}

fn replace(log: &Path, reserve: &Path) -> io::Result<()> {
    let copy = File::options().write(true).create(true).truncate(false).open(reserve)?;
    let reserved = copy.metadata()?.len();
    if let Err(error) = rewrite(&File::open(log)?, &copy) {
        // What was not reserved goes back, or on a full disk it would stand in the way of the next try.
        let _ = copy.set_len(reserved);
        return Err(error);
    }
    fs::rename(reserve, log)?;
    log.parent().map_or(Ok(()), sync_directory)
}

/// Writes every byte anew. `io::copy` would have the file system share what it thinks that it has.
fn rewrite(mut from: &File, mut to: &File) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 18];
    let mut length = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&buffer[..count])?;
        length += count as u64;
    }
    to.set_len(length)?;
    to.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_copy_takes_the_room_of_the_reserve_and_the_name_of_the_log() {
        let place = tempfile::tempdir().expect("directory");
        let (log, reserve) = (place.path().join("log"), place.path().join("reserve"));
        for reserved in [0, 10_000, 1_000_000] {
            let content: Vec<u8> = (0..700_000_u32).map(|byte| (byte % 251) as u8).collect();
            fs::write(&log, &content).expect("writes");
            fs::write(&reserve, vec![0xa5; reserved]).expect("writes");
            let room = fs::metadata(&reserve).expect("is there").ino();
            replace(&log, &reserve).expect("copies");
            assert_eq!(fs::read(&log).expect("is there"), content);
            assert_eq!(fs::metadata(&log).expect("is there").ino(), room);
            assert!(!reserve.exists());
        }
    }
}
