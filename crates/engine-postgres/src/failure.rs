//! How the database fails, and what may have become of a transaction then.

use std::fmt;

use tokio_postgres::error::{DbError, SqlState};

/// Why a transaction did not come to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server refused a statement, or the connection broke.
    Server(tokio_postgres::Error),
    /// It took longer than `transaction_timeout`.
    Late,
    /// A row that this engine did not write so.
    Damaged { what: &'static str, problem: String },
    /// The server is not what it was when the engine was opened.
    Changed { problem: String },
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Server(error)
    }
}

impl Failure {
    /// Whether the server gave the transaction up in favour of another one, so that it may be tried again.
    pub(crate) fn is_conflict(&self) -> bool {
        let Self::Server(error) = self else { return false };
        error.code().is_some_and(|code| {
            [
                &SqlState::T_R_SERIALIZATION_FAILURE,
                &SqlState::T_R_DEADLOCK_DETECTED,
                &SqlState::LOCK_NOT_AVAILABLE,
                // Statements behind the one that failed, when they were sent before its answer came.
                &SqlState::IN_FAILED_SQL_TRANSACTION,
            ]
            .contains(&code)
        })
    }

    /// Whether the server said by itself that what it was asked for was not done: an error ends the transaction alone,
    /// anything worse ends the connection, also after a commit that it can not tell of.
    pub(crate) fn is_refusal(&self) -> bool {
        let Self::Server(error) = self else { return false };
        let severity = error.as_db_error().and_then(DbError::parsed_severity);
        severity == Some(tokio_postgres::error::Severity::Error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(error) => match error.as_db_error() {
                Some(said) => write!(f, "the database says {}: {}", said.code().code(), said.message()),
                None => {
                    write!(f, "the connection to the database failed: {error}")?;
                    let mut source = std::error::Error::source(error);
                    while let Some(cause) = source {
                        write!(f, ": {cause}")?;
                        source = cause.source();
                    }
                    Ok(())
                }
            },
            Self::Late => f.write_str("the database did not answer within `transaction_timeout`"),
            Self::Damaged { what, problem } => write!(f, "a stored {what} can not be read: {problem}"),
            Self::Changed { problem } => f.write_str(problem),
        }
    }
}
