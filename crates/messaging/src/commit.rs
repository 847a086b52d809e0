//! What changes queues and topics: one closed value, done as a whole or not at all.

use std::fmt;
use std::time::Duration;

use crate::log::{Membership, Record};
use crate::message::Message;
use crate::queue::{LeaseId, Settlement};
use crate::support::Refusal;
use crate::{Durability, EngineError, Name};

/// Operations that are done together: a handler's acknowledgement, its mark in the inbox and what it sends, or the
/// messages of a batch.
///
/// Every condition is looked at before the first of them is done, in the state before any of them. An engine that can
/// not do these together refuses them by name ([`CommitError::Unsupported`]); none does some of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Commit {
    /// In the order in which positions are given. One that is empty does nothing, successfully.
    pub operations: Vec<Operation>,
}

impl From<Operation> for Commit {
    fn from(operation: Operation) -> Self {
        Self { operations: vec![operation] }
    }
}

impl FromIterator<Operation> for Commit {
    fn from_iter<I: IntoIterator<Item = Operation>>(operations: I) -> Self {
        Self { operations: operations.into_iter().collect() }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Puts a message into a queue.
    Send {
        /// Which one.
        queue: Name,
        /// The message.
        message: Message,
    },
    /// Takes back a message that waits and that nobody holds.
    Cancel {
        /// Of which queue.
        queue: Name,
        /// Where it stands.
        position: u64,
    },
    /// Ends a lease. The same settlement of the same lease again is no error.
    Settle {
        /// Which one.
        lease: LeaseId,
        /// How.
        settlement: Settlement,
    },
    /// Puts a record at the end of a partition.
    Append {
        /// Of which topic.
        topic: Name,
        /// The record.
        record: Record,
    },
    /// Says how far a group is.
    Advance {
        /// As which member.
        membership: Membership,
        /// In which partition.
        partition: u32,
        /// The position that is read next.
        next: u64,
    },
    /// Says that a message was handled, for a consumer that must not do so twice.
    Mark {
        /// Whose inbox.
        inbox: Name,
        /// The message: `source` and `id` of its envelope, or another key.
        key: String,
        /// For how long that is remembered.
        kept: Duration,
    },
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Stored(Receipt),
    /// It was stored before: its id is within the `deduplication_window`.
    Duplicate(Receipt),
    /// It is done.
    Done,
    /// It was done before: the same settlement of the same lease.
    DoneBefore,
}

/// Where a message or a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The partition of a record; 0 for a message.
    pub partition: u32,
    /// Where it stands in its queue or partition.
    pub position: u64,
    /// How safe it was when this was said.
    pub durability: Durability,
}

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
    /// The engine can do each of them, but not together.
    Unsupported(Refusal),
    /// The engine does not answer, or takes nothing; nothing was done.
    Unavailable {
        /// Why, for people.
        cause: String,
        /// When to come back, if the engine knows.
        retry_after: Option<Duration>,
    },
    /// Whether it was done is not known. What has an id may be sent again with the same.
    Unknown {
        /// What happened, for people.
        cause: String,
    },
}

/// Why an operation can not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// What it names is not there, or no longer its own.
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
    /// No message that waits stands there: it was delivered, cancelled, or never was.
    NotWaiting,
    /// The member was replaced: its group has a later generation.
    StaleMembership {
        /// The group's generation.
        generation: u64,
    },
    /// The inbox has the key already: the message was handled.
    HandledBefore,
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { operation, cause } => write!(f, "operation {operation}: {cause}"),
            Self::Unsupported(refusal) => refusal.fmt(f),
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
            Self::NotWaiting => f.write_str("no message waits at that position"),
            Self::StaleMembership { generation } => {
                write!(f, "the member was replaced: the group is in generation {generation}")
            }
            Self::HandledBefore => f.write_str("the inbox has the message already"),
        }
    }
}

impl std::error::Error for Refused {}
