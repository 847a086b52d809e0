//! What can go wrong, told so that a caller knows whether the command is stored.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use intertie_core::config::Invalid;
use rusqlite::ErrorCode;

/// Why a data directory was not opened. Nothing in it was changed, but that a lock file may stand in it.
#[derive(Debug)]
pub enum OpenError {
    /// A setting can not work.
    Config(Invalid),
    /// Another store, of this process or of another one, has the directory.
    InUse {
        /// The process that has it, where the lock file says so.
        holder: Option<u32>,
        /// The file that is locked.
        lock: PathBuf,
    },
    /// Its locks and syncs do not promise enough.
    NetworkFilesystem {
        /// The data directory.
        directory: PathBuf,
        /// What the system calls it.
        filesystem: &'static str,
    },
    /// The directory can not be written.
    NotWritable {
        /// The data directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be read, written or synced.
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is a database of another program.
    NotOurs {
        /// The file.
        database: PathBuf,
    },
    /// The file was written by a later version of this program.
    Newer {
        /// The file.
        database: PathBuf,
        /// The schema version in the file.
        found: u32,
        /// The latest that this program knows.
        known: u32,
    },
    /// Another program reads or writes the database, so that its log can not be emptied.
    Busy {
        /// The file.
        database: PathBuf,
    },
    /// The database is damaged or no database.
    Damaged {
        /// The file.
        database: PathBuf,
        /// What SQLite found.
        source: rusqlite::Error,
    },
    /// The database could not be opened for another reason.
    Storage {
        /// The file.
        database: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(super) fn sqlite(database: &Path, source: rusqlite::Error) -> Self {
        let database = database.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged { database, source },
            Some(ErrorCode::DatabaseBusy) => Self::Busy { database },
            _ => Self::Storage { database, source },
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(invalid) => invalid.fmt(f),
            Self::InUse { holder: Some(process), lock } => {
                write!(f, "the data directory is in use by process {process}, which holds {}", lock.display())
            }
            Self::InUse { holder: None, lock } => {
                write!(f, "the data directory is in use: {} is locked", lock.display())
            }
            Self::NetworkFilesystem { directory, filesystem } => write!(
                f,
                "{} is on {filesystem}, a network filesystem, whose locks and syncs do not promise enough; use a local disk",
                directory.display()
            ),
            Self::NotWritable { directory, .. } => {
                write!(f, "the data directory {} can not be written", directory.display())
            }
            Self::Io { path, source } if source.kind() == io::ErrorKind::NotADirectory => {
                write!(f, "{} is not a directory", path.display())
            }
            Self::Io { path, .. } => write!(f, "no access to {}", path.display()),
            Self::NotOurs { database } => {
                write!(f, "{} is a database of another program", database.display())
            }
            Self::Newer { database, found, known } => write!(
                f,
                "{} has schema version {found}, and this program knows up to {known}: it was written by a later one",
                database.display()
            ),
            Self::Busy { database } => {
                write!(f, "another program has {} open and does not let go of it", database.display())
            }
            Self::Damaged { database, .. } => write!(f, "{} is damaged", database.display()),
            Self::Storage { database, .. } => write!(f, "{} could not be opened", database.display()),
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotWritable { source, .. } | Self::Io { source, .. } => Some(source),
            Self::Damaged { source, .. } | Self::Storage { source, .. } => Some(source),
            Self::Config(_)
            | Self::InUse { .. }
            | Self::NetworkFilesystem { .. }
            | Self::NotOurs { .. }
            | Self::Newer { .. }
            | Self::Busy { .. } => None,
        }
    }
}

/// What the writer was doing when it failed.
///
/// A group that failed before [`Step::Commit`] is certainly not stored: no record in the log says that it is
/// complete, so recovery drops it. After that only the disk knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Beginning a transaction.
    Begin,
    /// Checking and applying commands, before the commit was asked for.
    Apply,
    /// Making a group durable.
    Commit,
    /// Moving pages from the log to the database.
    Checkpoint,
    /// Giving free pages back to the file system.
    Vacuum,
}

impl Step {
    fn as_text(self) -> &'static str {
        match self {
            Self::Begin => "beginning a transaction",
            Self::Apply => "applying commands",
            Self::Commit => "a commit",
            Self::Checkpoint => "a checkpoint",
            Self::Vacuum => "giving free pages back",
        }
    }
}

/// Why a store takes no more writes until it is opened again.
#[derive(Debug, Clone)]
pub enum Failure {
    /// No room on the disk.
    DiskFull {
        /// What failed.
        during: Step,
    },
    /// The database is damaged.
    Damaged {
        /// What failed.
        during: Step,
        /// What SQLite found.
        source: Arc<rusqlite::Error>,
    },
    /// A read, write or sync failed, another program did not let go of its lock, or a statement broke a rule of
    /// the schema, which the checks of its command should have seen.
    Storage {
        /// What failed.
        during: Step,
        /// What SQLite said.
        source: Arc<rusqlite::Error>,
    },
    /// Another program changed the database, so what is in memory may not be what is stored.
    ForeignWrite,
    /// A defect: the code that applies commands panicked.
    Panicked {
        /// What panicked.
        during: Step,
    },
}

impl Failure {
    pub(super) fn sqlite(during: Step, source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull { during },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { during, source: Arc::new(source) }
            }
            _ => Self::Storage { during, source: Arc::new(source) },
        }
    }

    /// What failed; a foreign write is found when a transaction begins.
    pub fn during(&self) -> Step {
        match self {
            Self::DiskFull { during }
            | Self::Damaged { during, .. }
            | Self::Storage { during, .. }
            | Self::Panicked { during } => *during,
            Self::ForeignWrite => Step::Begin,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let during = self.during().as_text();
        match self {
            Self::DiskFull { .. } => write!(f, "the disk is full, found in {during}"),
            Self::Damaged { .. } => write!(f, "the database is damaged, found in {during}"),
            Self::Storage { .. } => write!(f, "storage failed in {during}"),
            Self::ForeignWrite => f.write_str("another program changed the database"),
            Self::Panicked { .. } => write!(f, "a defect of this program, found in {during}"),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Damaged { source, .. } | Self::Storage { source, .. } => Some(source.as_ref()),
            Self::DiskFull { .. } | Self::ForeignWrite | Self::Panicked { .. } => None,
        }
    }
}

/// Why a command has no reply. Only [`SubmitError::Unknown`] leaves open whether it is stored.
#[derive(Debug, Clone)]
pub enum SubmitError<R> {
    /// Its checks refused it: not stored.
    Refused(R),
    /// Too much waits for the writer: not stored, and worth another try.
    Overloaded {
        /// The setting that bounds it: `pending_max` or `pending_bytes_max`.
        bound: &'static str,
        /// Its value.
        limit: u64,
    },
    /// It is larger than `group_bytes_max`: not stored.
    TooLarge {
        /// The bytes of the command.
        bytes: u64,
        /// The setting's value.
        limit: u64,
    },
    /// The store has failed: not stored.
    Unavailable(Failure),
    /// The store failed while it made the command durable: stored or not, which the store says when it is opened
    /// again.
    Unknown(Failure),
    /// The store is closed: not stored.
    Closed,
}

impl<R: fmt::Display> fmt::Display for SubmitError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Overloaded { bound, limit } => {
                write!(f, "too much waits to be stored: `{bound}` is {limit}")
            }
            Self::TooLarge { bytes, limit } => {
                write!(f, "{bytes} bytes are more than `group_bytes_max`, {limit}")
            }
            Self::Unavailable(_) => f.write_str("the store takes no writes"),
            Self::Unknown(_) => f.write_str("the store failed, and may or may not have stored this"),
            Self::Closed => f.write_str("the store is closed"),
        }
    }
}

impl<R: fmt::Debug + fmt::Display> Error for SubmitError<R> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unavailable(failure) | Self::Unknown(failure) => Some(failure),
            _ => None,
        }
    }
}
