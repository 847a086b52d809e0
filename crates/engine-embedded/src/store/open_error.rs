use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use intertie_core::config::Invalid;
use rusqlite::ErrorCode;

use super::pin;

/// What is declared in a database by a later version, in words that this one does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewerSpec {
    /// Of what.
    pub(crate) name: String,
    /// The first that is not known.
    pub(crate) problem: String,
}

impl NewerSpec {
    /// The one that an error of the database is about.
    pub(crate) fn cause_of(error: &rusqlite::Error) -> Option<&Self> {
        match error {
            rusqlite::Error::FromSqlConversionFailure(_, _, cause) => cause.downcast_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for NewerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` was declared by a later version: {}", self.name, self.problem)
    }
}

impl Error for NewerSpec {}

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
    /// A later version declared something in it that this one would have to leave out. That version opens it.
    NewerSpec {
        /// The file.
        database: PathBuf,
        /// What was declared.
        name: String,
        /// What of its specification is not known.
        problem: String,
    },
    /// Another program has had the database open since before a crash, or locks it, and did not let go of it within
    /// `busy_wait`. Whoever has read from it has it open until he closes it, so a shell that waits for input is enough.
    /// It is refused because the log, which may have to be replaced, is theirs too.
    Busy {
        /// The file.
        database: PathBuf,
        /// Who has it open, where the system tells.
        processes: Vec<u32>,
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
        if let Some(NewerSpec { name, problem }) = NewerSpec::cause_of(&source).cloned() {
            return Self::NewerSpec { database, name, problem };
        }
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged { database, source },
            Some(ErrorCode::DatabaseBusy) => Self::busy(&database),
            _ => Self::Storage { database, source },
        }
    }

    pub(super) fn busy(database: &Path) -> Self {
        Self::Busy { database: database.to_owned(), processes: pin::holders(database) }
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
            Self::NewerSpec { database, name, problem } => write!(
                f,
                "{} was written by a later version, which declared `{name}` with what this one does not know: {problem}",
                database.display()
            ),
            Self::Busy { database, processes } if processes.is_empty() => {
                write!(
                    f,
                    "another program has {} open: close it there, and open it again",
                    database.display()
                )
            }
            Self::Busy { database, processes } => write!(
                f,
                "another program has {} open: close it in process {}, and open it again",
                database.display(),
                pin::names(processes)
            ),
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
            | Self::NewerSpec { .. }
            | Self::Busy { .. } => None,
        }
    }
}
