use std::error::Error;
use std::fmt;

use super::failure::Failure;

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
