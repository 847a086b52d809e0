use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use intertie_core::clock::Timestamp;
use intertie_core::quantity::ByteSize;

use crate::message::Content;
use crate::queue::{Cause, DeadLetter};

/// One delivery of one message: the right to settle it until its time is over.
///
/// It carries the epoch of the delivery, so that a settlement that comes when the message is already somebody
/// else's is refused as stale instead of being taken for theirs. A lease that is dropped is neither acknowledged
/// nor released: when `until` has passed its message waits as `redelivery` of its queue says, and comes back.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// What settles it.
    pub id: LeaseId,
    /// The message.
    pub content: Content,
    /// Where it stands in its queue, if the engine tells ([`QueueVerb::Positions`](super::QueueVerb::Positions)): no two
    /// messages of a queue have the same, and later ones have a higher one.
    pub position: Option<u64>,
    /// Its priority.
    pub priority: u8,
    /// How often it was delivered, this time included.
    pub deliveries: NonZeroU32,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// When it is somebody else's, unless the lease is extended.
    pub until: Timestamp,
    /// Of what it died last: why it is in a queue of dead letters, or what it had died of before it was redriven.
    pub dead_letter: Option<Box<DeadLetter>>,
}

/// What names a lease, in words of its engine's own; cheap to clone.
///
/// Who has it may settle the message, so it can not be guessed: at least 64 bits of it are random. An engine whose own
/// words can be, such as a number of a delivery, writes a [`LeaseToken`] instead or adds one.
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

/// A lease as engines write it that have no words of their own: which delivery it fences, and what nobody else can
/// know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseToken {
    /// Where the message stands in its queue.
    pub position: u64,
    /// Which delivery of it: one more with each, releases included.
    pub delivery: u64,
    /// Random in all its bits, from a generator that can not be predicted.
    pub secret: u64,
}

impl From<LeaseToken> for LeaseId {
    fn from(token: LeaseToken) -> Self {
        let LeaseToken { position, delivery, secret } = token;
        Self(format!("{position}-{delivery}-{secret:016x}").into())
    }
}

/// Text that no engine has written for a lease: whoever sent it holds none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidLease;

impl fmt::Display for InvalidLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it names no lease")
    }
}

impl std::error::Error for InvalidLease {}

impl From<InvalidLease> for crate::EngineError {
    fn from(_: InvalidLease) -> Self {
        Self::StaleLease
    }
}

impl FromStr for LeaseToken {
    type Err = InvalidLease;

    /// Reads what [`LeaseId::from`] wrote, and nothing else: there is one text for each token.
    fn from_str(text: &str) -> Result<Self, InvalidLease> {
        let number = |text: &str| text.parse().map_err(|_| InvalidLease);
        let mut parts = text.splitn(3, '-');
        let mut next = || parts.next().ok_or(InvalidLease);
        let (position, delivery) = (number(next()?)?, number(next()?)?);
        let secret = u64::from_str_radix(next()?, 16).map_err(|_| InvalidLease)?;
        let token = Self { position, delivery, secret };
        if LeaseId::from(token).as_str() == text { Ok(token) } else { Err(InvalidLease) }
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
        /// What ended it, as its [`DeadLetter`] will say.
        cause: Cause,
        /// Why, in words for people; as much as [`DeadLetter::kept_reason`] leaves is kept.
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
    /// How many bytes at most, but for the first message.
    pub bytes_max: ByteSize,
    /// How long they are the consumer's, at most `visibility_timeout_max`; unset, `visibility_timeout` of the queue.
    /// Asking for another time needs [`QueueVerb::LeaseTime`](super::QueueVerb::LeaseTime).
    pub visibility_timeout: Option<Duration>,
    /// How long to wait for the first of them; zero does not wait. Later ones are never waited for.
    pub wait: Duration,
}
