use std::fmt;
use std::time::Duration;

use crate::EngineError;
use crate::support::Refusal;

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitError {
    /// One operation can not be done, so none was.
    Refused {
        /// Which one, from 0.
        operation: usize,
        /// Why not.
        cause: Refused,
    },
    /// The engine can do each of them, but not together; it said so before.
    Unsupported(Box<Refusal>),
    /// There is more in it than the engine takes at once.
    TooLarge {
        /// The setting of the engine that bounds it.
        bound: &'static str,
        /// What it is of that: operations or bytes.
        is: u64,
        /// The value of the setting.
        limit: u64,
    },
    /// Too much waits for the engine already; nothing was done, and it is worth another try.
    Overloaded {
        /// The setting of the engine that bounds it.
        bound: &'static str,
        /// Its value.
        limit: u64,
    },
    /// The engine does not answer, or takes nothing; nothing was done.
    Unavailable {
        /// Why, for people.
        cause: String,
        /// When to come back, if the engine knows.
        retry_after: Option<Duration>,
    },
    /// Whether it was done is not known. It may be sent again as it was when it has an operation that can be done once,
    /// or when all it has are sends within a `deduplication_window`, marks, cancellations and redrives.
    Unknown {
        /// What happened, for people.
        cause: String,
    },
}

/// Why an operation can not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// What it names is not there, or no longer its own, or nothing that the engine does.
    Engine(EngineError),
    /// The message or record is too large.
    TooLarge {
        /// How large.
        bytes: u64,
        /// `message_bytes_max` or `record_bytes_max`.
        limit: u64,
    },
    /// The queue has `depth_max` messages.
    Full {
        /// The limit.
        limit: u64,
    },
    /// The message asks for something that its queue was not declared for.
    NotDeclared {
        /// The key that would allow it.
        key: &'static str,
        /// What it asks for, and what there is.
        problem: String,
    },
    /// The record is a tombstone only by what it says of itself, or only by what it has.
    Tombstone {
        /// Which of both, and why.
        problem: &'static str,
    },
    /// No message that waits stands there, or none that is dead where a dead one is meant: it was delivered, cancelled,
    /// moved, or never was.
    NotWaiting,
    /// It was done before, and others of the commit that can be done once were not: it is not the commit that did it.
    DoneBefore,
    /// The inbox has the key already: the message was handled.
    HandledBefore,
    /// The record of the request is another's by now.
    Lost,
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { operation, cause } => write!(f, "operation {operation}: {cause}"),
            Self::Unsupported(refusal) => refusal.fmt(f),
            Self::TooLarge { bound, is, limit } => {
                write!(f, "the commit is too large: `{bound}` is {limit}, and it has {is}")
            }
            Self::Overloaded { bound, limit } => write!(f, "too much waits already: `{bound}` is {limit}"),
            Self::Unavailable { cause, .. } => f.write_str(cause),
            Self::Unknown { cause } => write!(f, "it is not known whether this was done: {cause}"),
        }
    }
}

impl std::error::Error for CommitError {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::TooLarge { bytes, limit } => write!(f, "{bytes} bytes are more than the limit of {limit}"),
            Self::Full { limit } => write!(f, "the queue holds `depth_max` messages, {limit}"),
            Self::NotDeclared { key, problem } => write!(f, "`{key}` does not allow it: {problem}"),
            Self::Tombstone { problem } => {
                write!(f, "whether the record ends its key is in doubt: {problem}")
            }
            Self::NotWaiting => f.write_str("no such message waits at that position"),
            Self::DoneBefore => f.write_str("it was done before, by another commit"),
            Self::HandledBefore => f.write_str("the inbox has the message already"),
            Self::Lost => f.write_str("the request took longer than its time, and is another's by now"),
        }
    }
}

impl std::error::Error for Refused {}

impl From<EngineError> for Refused {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}
