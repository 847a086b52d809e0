//! What changes queues and topics: one closed value, done as a whole or not at all.

mod error;
mod together;

use std::time::Duration;

use bytes::Bytes;
use intertie_idempotency::Key;

use crate::log::{Membership, Record};
use crate::message::{Content, Message};
use crate::queue::{DeadLetter, LeaseId, Settlement};
use crate::{Durability, Name};

pub use error::{CommitError, Refused};
pub use together::{Kind, Places, Together};

/// Operations that are done together: a handler's acknowledgement, its mark in the inbox and what it sends, or the
/// messages of a batch.
///
/// Every condition is looked at before the first of them is done, in the state before any of them: what one makes room
/// for, another one of the same commit can not take. Among themselves they add up. Sends to one queue must fit
/// `depth_max` together, of which duplicates take no room; the second of two with one id is a duplicate of the first;
/// what is cancelled, moved, marked, or settled in two ways twice is refused at the second time.
///
/// [`Operation::Settle`], [`Operation::Advance`] and [`Operation::Complete`] can be done once, which makes the whole
/// commit so: when they were done before, nothing else of it is done again ([`Committed::DoneBefore`]), and so a commit
/// of unknown outcome that has one of them may be sent again as it was. Where only some of them were done before it is
/// another commit, and refused.
///
/// An engine that can not do these together says so before ([`Engine::commit_support`](crate::Engine::commit_support))
/// and refuses them by name ([`CommitError::Unsupported`]); none does some of them.
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
    /// Takes back a message that waits and that nobody holds, dead ones included. Its id is forgotten, so that it can
    /// be sent again.
    Cancel {
        /// Of which queue.
        queue: Name,
        /// Where it stands.
        position: u64,
    },
    /// Ends a lease. The same settlement of the same lease again is no error within `settlement_window`; after that,
    /// and any other one, is stale.
    Settle {
        /// Of which queue. A lease of another one is stale here.
        queue: Name,
        /// Which one.
        lease: LeaseId,
        /// How.
        settlement: Settlement,
    },
    /// Moves a dead letter that nobody holds to the end of a queue, as it came and due at once, whatever ids that
    /// queue remembers; `depth_max` and `message_bytes_max` hold. It goes on with its [`DeadLetter`], in which
    /// `redrives` is one more, so that it does not expire by its `expirytime`, and so that whoever redrives can tell
    /// what comes back again and again.
    Redrive {
        /// From which queue.
        queue: Name,
        /// Where it stands.
        position: u64,
        /// To which one.
        to: Name,
    },
    /// Puts a dead letter into a queue, as an engine does it with what dies in another one: for records of a topic
    /// that nobody could handle, and for bytes that nobody could read. It has any size, and goes beyond `depth_max`.
    Bury {
        /// Which one.
        queue: Name,
        /// What died, as it came.
        content: Content,
        /// Of what, and where.
        dead_letter: Box<DeadLetter>,
    },
    /// Puts a record at the end of a partition.
    Append {
        /// Of which topic.
        topic: Name,
        /// The record.
        record: Record,
    },
    /// Says how far a group is. It never goes back: where the group is there already, or further, this was done
    /// before. Nor does it go beyond the end of the partition, which would skip what comes: that is refused, with the
    /// end as the limit `end`.
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
    /// Says that a request was done, for a client that may repeat it:
    /// [`record::complete`](intertie_idempotency::record::complete).
    Complete {
        /// Who may use the key.
        scope: String,
        /// What the client calls its request.
        key: Key,
        /// The right to complete it, from its [`Begin`](intertie_idempotency::Decision::Begin).
        fence: u64,
        /// What repetitions hear, in bytes that only those who answer can read; unset, that it was done.
        answer: Option<Bytes>,
        /// For how long.
        kept: Duration,
    },
}

/// What became of a commit that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// It is done: an outcome for each operation, in their order.
    Done(Vec<Outcome>),
    /// It was done before: what can be done once in it was. Nothing was done now.
    DoneBefore,
}

/// What became of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Stored(Receipt),
    /// It was stored before: its id is within the `deduplication_window`.
    Duplicate(Receipt),
    /// It is done.
    Done,
}

/// Where a message or a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The partition of a record; 0 for a message.
    pub partition: u32,
    /// Where it stands in its queue or partition, if the engine tells: for records it does, for messages when it offers
    /// [`QueueVerb::Positions`](crate::queue::QueueVerb::Positions).
    pub position: Option<u64>,
    /// How safe it was when this was said.
    pub durability: Durability,
}
