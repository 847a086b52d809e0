//! The directory that a store has to itself.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::open_error::OpenError;

/// The database. Beside it stand `-wal` and `-shm` while it is open.
pub(super) const DATABASE: &str = "intertie.db";
pub(super) const LOCK: &str = "intertie.lock";

/// A data directory, locked for this process until it is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// The lock belongs to the open file, so it ends with the process however the process ends.
    lock: File,
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing would leave the lock to a child that was forked a moment ago, until it runs its own program.
        // If it can not be released, closing does that.
        let _ = self.lock.unlock();
    }
}

impl Directory {
    /// Makes the directory if there is none, for its owner alone, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        create(path)?;
        if let Some(filesystem) = network_filesystem(path) {
            return Err(OpenError::NetworkFilesystem { directory: path.to_owned(), filesystem });
        }
        let lock = lock(path)?;
        Ok(Self { path: path.to_owned(), lock })
    }

    /// The directory itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the database is.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Where its write-ahead log is.
    pub(super) fn wal(&self) -> PathBuf {
        self.path.join(format!("{DATABASE}-wal"))
    }

    /// Where the shared memory of its connections is.
    pub(super) fn shm(&self) -> PathBuf {
        self.path.join(format!("{DATABASE}-shm"))
    }

    /// Where room for a copy of that log is kept.
    pub(super) fn reserve(&self) -> PathBuf {
        self.path.join(format!("{DATABASE}-wal.reserve"))
    }

    /// Makes the names of the files in the directory durable.
    pub(super) fn sync(&self) -> Result<(), OpenError> {
        sync_directory(&self.path).map_err(|source| OpenError::io(&self.path, source))
    }
}

/// Makes the names of the files in `path` durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes the directory and those above it that are missing, and makes their names durable.
fn create(path: &Path) -> Result<(), OpenError> {
    let error = |source| OpenError::io(path, source);
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(error(io::ErrorKind::NotADirectory.into())),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            create(parent)?;
            DirBuilder::new().mode(0o700).create(path).map_err(error)?;
            sync_directory(parent).map_err(error)
        }
        Err(source) => Err(error(source)),
    }
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK);
    let error = |source: io::Error| match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            OpenError::NotWritable { directory: directory.to_owned(), source }
        }
        _ => OpenError::io(&path, source),
    };
    let mut options = File::options();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(error)?;
    match file.try_lock() {
        Ok(()) => {
            // Written over what is there, since a file that was cut may find no room on a full disk.
            let line = format!("{:<10}\n", std::process::id());
            file.write_all(line.as_bytes()).and_then(|()| file.set_len(line.len() as u64)).map_err(error)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { holder: holder(&mut file), lock: path }),
        Err(TryLockError::Error(source)) => Err(error(source)),
    }
}

/// The process that wrote its id into the lock file. The file is whatever someone made of it.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// The name of the network filesystem that `path` is on, where that can be told. Their locks and their syncs
/// promise less than SQLite needs.
#[cfg(target_os = "linux")]
fn network_filesystem(path: &Path) -> Option<&'static str> {
    const NAMES: [(i64, &str); 8] = [
        (0x6969, "nfs"),
        (0x517b, "smb"),
        (0xff53_4d42, "cifs"),
        (0xfe53_4d42, "smb2"),
        (0x0102_1997, "9p"),
        (0x5346_414f, "afs"),
        (0x7375_7245, "coda"),
        (0x00c3_6400, "ceph"),
    ];
    let found = nix::sys::statfs::statfs(path).ok()?.filesystem_type().0;
    // The type has another width on other C libraries, and the numbers are of 32 bits.
    NAMES.iter().find(|(number, _)| *number as u32 == found as u32).map(|(_, name)| *name)
}

#[cfg(not(target_os = "linux"))]
fn network_filesystem(_: &Path) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_directory_is_for_its_owner_alone() {
        let parent = tempfile::tempdir().expect("directory");
        let path = parent.path().join("a/b");
        Directory::open(&path).expect("opens");
        let mode = fs::metadata(&path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_second_holder_is_refused_with_the_process_and_the_file() {
        let path = tempfile::tempdir().expect("directory");
        let first = Directory::open(path.path()).expect("opens");
        let refused = Directory::open(path.path()).expect_err("is locked").to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        assert!(refused.contains(LOCK), "{refused}");
        drop(first);
        Directory::open(path.path()).expect("is free again");
    }

    #[test]
    fn a_lock_file_of_garbage_names_no_process() {
        let path = tempfile::tempdir().expect("directory");
        let _first = Directory::open(path.path()).expect("opens");
        fs::write(path.path().join(LOCK), [0xff; 64]).expect("writes");
        let refused = Directory::open(path.path()).expect_err("is locked");
        assert!(matches!(refused, OpenError::InUse { holder: None, .. }), "{refused}");
    }

    #[test]
    fn a_file_is_no_directory() {
        let file = tempfile::NamedTempFile::new().expect("file");
        let refused = Directory::open(file.path()).expect_err("is a file").to_string();
        assert!(refused.contains("not a directory"), "{refused}");
    }
}
