use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use intertie_core::clock::Timestamp;

use crate::message::Content;
use crate::queue::DeadLetter;

/// One delivery of one message: the right to settle it until its time is over.
///
/// It carries the epoch of the delivery, so that a settlement that comes when the message is already somebody
/// else's is refused as stale instead of being taken for theirs. A lease that is dropped is neither acknowledged
/// nor released: its message comes back when `until` has passed.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// What settles it.
    pub id: LeaseId,
    /// The message.
    pub content: Content,
    /// Where it stands in its queue; no two messages of a queue have the same, and later ones have a higher one.
    pub position: u64,
    /// Its priority.
    pub priority: u8,
    /// How often it was delivered, this time included.
    pub deliveries: NonZeroU32,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// When it is somebody else's, unless the lease is extended.
    pub until: Timestamp,
    /// In a queue of dead letters: why it is here.
    pub dead_letter: Option<Box<DeadLetter>>,
}

/// What names a lease, in words of its engine's own; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeaseId(Arc<str>);

impl LeaseId {
    /// A lease of an engine that will know it by `text`.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The engine's words.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What becomes of a message that was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// It is done, and is removed.
    Ack,
    /// It failed: it comes again, unless it was delivered `max_deliveries` times.
    Retry {
        /// After so long; unset, as `redelivery` of its queue says.
        after: Option<Duration>,
    },
    /// Its consumer did not try: it comes again at once and the delivery does not count.
    Release,
    /// It never will be done: it goes to the dead letters.
    DeadLetter {
        /// Why, in words for people.
        reason: String,
    },
}

/// What a consumer asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    /// From which queue.
    pub queue: crate::Name,
    /// Who asks; two that are the same are one consumer.
    pub consumer: crate::Name,
    /// How many messages at most: the credit that the consumer has left.
    pub most: NonZeroU32,
    /// How long they are the consumer's; unset, `visibility_timeout` of the queue.
    pub visibility_timeout: Option<Duration>,
    /// How long to wait for the first of them; zero does not wait. Later ones are never waited for.
    pub wait: Duration,
}
