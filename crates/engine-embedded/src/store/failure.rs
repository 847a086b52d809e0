use std::error::Error;
use std::fmt;
use std::sync::Arc;

use rusqlite::ErrorCode;

/// What the writer was doing when it failed.
///
/// A group that failed before [`Step::Commit`] is certainly not stored: no record in the log says that it is
/// complete, so recovery drops it. After that only the disk knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Waiting for commands, or for the time at which something is due.
    Wait,
    /// Beginning a transaction.
    Begin,
    /// Checking and applying commands and what is due, before the commit was asked for.
    Apply,
    /// Making a group durable.
    Commit,
    /// Answering a group that is durable.
    Answer,
    /// Moving pages from the log to the database.
    Checkpoint,
    /// Giving free pages back to the file system.
    Vacuum,
}

impl Step {
    fn as_text(self) -> &'static str {
        match self {
            Self::Wait => "waiting for commands",
            Self::Begin => "beginning a transaction",
            Self::Apply => "applying commands",
            Self::Commit => "a commit",
            Self::Answer => "answering",
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
    /// A defect: the thread that writes panicked.
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
