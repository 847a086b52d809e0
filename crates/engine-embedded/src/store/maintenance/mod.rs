//! What operators do with a data directory: [`verify`], [`stats`], [`backup`] and [`restore`].
//!
//! All but `restore` only read, and may run beside the process that has the directory. They read as of one moment,
//! and until they end, that process can not shorten its write-ahead log: past its bound it says so.

mod backup;
mod stats;
mod verify;

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

pub use backup::{backup, restore};
pub use stats::{Stats, TableStats, stats};
pub use verify::verify;

use super::config::StoreConfig;
use super::database::open_reader;
use super::open_error::OpenError;
use super::schema;

/// How far a long work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is done, in pages of a copy or tables of a look.
    pub done: u64,
    /// What there is to do.
    pub total: u64,
}

/// Why something was not done with a data directory. Nothing that was there before was changed.
#[derive(Debug)]
pub enum MaintenanceError {
    /// The database can not be opened.
    Open(OpenError),
    /// A file is where the new one is to be, or where a copy is made before it gets its name.
    Exists {
        /// That file.
        path: PathBuf,
    },
    /// A directory to restore into has something in it.
    NotEmpty {
        /// That directory.
        directory: PathBuf,
    },
    /// The copy is damaged, and was not kept.
    Damaged {
        /// What SQLite found, at most 100 findings.
        findings: Vec<String>,
    },
    /// A file could not be read, written or synced.
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A database could not be read or written.
    Sqlite {
        /// Which one.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl fmt::Display for MaintenanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Exists { path } => write!(f, "{} exists, and nothing is overwritten", path.display()),
            Self::NotEmpty { directory } => {
                write!(f, "{} is not empty, and nothing is overwritten", directory.display())
            }
            Self::Damaged { findings } => {
                write!(f, "the copy is damaged, and was not kept: {}", findings.join("; "))
            }
            Self::Io { path, .. } => write!(f, "no access to {}", path.display()),
            Self::Sqlite { path, .. } => write!(f, "{} could not be read or written", path.display()),
        }
    }
}

impl Error for MaintenanceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Open(error) => error.source(),
            Self::Io { source, .. } => Some(source),
            Self::Sqlite { source, .. } => Some(source),
            Self::Exists { .. } | Self::NotEmpty { .. } | Self::Damaged { .. } => None,
        }
    }
}

impl MaintenanceError {
    fn io(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists { path: path.to_owned() },
            _ => Self::Io { path: path.to_owned(), source },
        }
    }

    fn sqlite(path: &Path, source: rusqlite::Error) -> Self {
        Self::Sqlite { path: path.to_owned(), source }
    }
}

/// Opens a database of ours for reading, as of one moment.
fn open(database: &Path) -> Result<Connection, MaintenanceError> {
    let connection = open_reader(database, &StoreConfig::default()).map_err(MaintenanceError::Open)?;
    let known = schema::known_version();
    match schema::origin(&connection, database).map_err(MaintenanceError::Open)? {
        schema::Origin::Ours(found) if found <= known => {}
        schema::Origin::Ours(found) => {
            let database = database.to_owned();
            return Err(MaintenanceError::Open(OpenError::Newer { database, found, known }));
        }
        schema::Origin::New => {
            return Err(MaintenanceError::Open(OpenError::NotOurs { database: database.to_owned() }));
        }
    }
    let begun = connection.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema");
    begun.map_err(|source| MaintenanceError::sqlite(database, source))?;
    Ok(connection)
}
