use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::clock::Timestamp;
use intertie_core::quantity::ByteSize;

use super::{DeadLetter, Lease, LeaseId, LeaseRequest, QueueFeature, QueueSpec};
use crate::engine::{DeclareError, Engine, Listing, Pending};
use crate::message::Content;
use crate::support::{Declared, Support};
use crate::{EngineError, Name};

/// What keeps queues. What it can do of a specification is said by [`QueueEngine::support`] and resolved when a
/// queue is declared, never when a message is sent; sending and settling are [`Engine::commit`].
pub trait QueueEngine: Engine {
    /// How one promise would be kept by the engine that was found, in its version. A verb that is refused here is
    /// [`EngineError::Unsupported`] whenever it is used.
    fn support(&self, feature: QueueFeature) -> Support;

    /// Makes the queue as `spec` asks, or changes it to that; a queue that is as asked is left alone.
    ///
    /// # Errors
    /// When a setting can not work, a promise can not be kept, dead letters would get lost, or an existing queue can
    /// not be changed so.
    fn declare_queue<'a>(
        &'a self,
        name: &'a Name,
        spec: &'a QueueSpec,
    ) -> Pending<'a, Result<Declared, DeclareError>>;

    /// Removes the queue with its messages. Its queue of dead letters stays, unless that came with it: that goes when
    /// it is empty, now or later.
    ///
    /// # Errors
    /// When there is none, the dead letters of another queue go there, or the engine can not write.
    fn delete_queue<'a>(&'a self, name: &'a Name) -> Pending<'a, Result<(), EngineError>>;

    /// The names of queues, those of dead letters that came with others included. Fewer than asked for when there are
    /// no more.
    ///
    /// # Errors
    /// When the engine is not available.
    fn queues<'a>(&'a self, listing: &'a Listing) -> Pending<'a, Result<Vec<Name>, EngineError>>;

    /// Leases the next messages. The count of deliveries is as durable as the queue before a message is handed out.
    /// Empty when none came within `wait`. Dropping the future leases nothing: what was leased for it and not
    /// handed out is released.
    ///
    /// # Errors
    /// When there is no such queue, another consumer has it to itself, the time is longer than
    /// `visibility_timeout_max`, or the engine is not available.
    fn lease<'a>(&'a self, request: &'a LeaseRequest) -> Pending<'a, Result<Vec<Lease>, EngineError>>;

    /// Gives a lease `time` from now on, which may be shorter than what it had left; the new end.
    ///
    /// # Errors
    /// When the message is no longer this lease's, the time is longer than `visibility_timeout_max`, or the engine does
    /// not extend leases.
    fn extend<'a>(
        &'a self,
        queue: &'a Name,
        lease: &'a LeaseId,
        time: Duration,
    ) -> Pending<'a, Result<Timestamp, EngineError>>;

    /// How much there is.
    ///
    /// # Errors
    /// When there is no such queue, or the engine is not available.
    fn depth<'a>(&'a self, queue: &'a Name) -> Pending<'a, Result<Depth, EngineError>>;

    /// Looks at messages without leasing them, in the order of their positions.
    ///
    /// # Errors
    /// When there is no such queue, the engine does not let look, or is not available.
    fn browse<'a>(&'a self, browse: &'a Browse) -> Pending<'a, Result<Page, EngineError>>;
}

/// How much a queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Messages that are due and that nobody holds, those that wait behind another one of their group included.
    pub ready: u64,
    /// Messages that wait for their time, delayed or to be repeated.
    pub delayed: u64,
    /// Messages that consumers hold.
    pub in_flight: u64,
    /// When the oldest of those that are ready became due.
    pub oldest: Option<Timestamp>,
    /// Bytes of all of them, as `message_bytes_max` counts, if the engine knows.
    pub bytes: Option<u64>,
    /// Consumers that hold a message or wait for one, if the engine knows.
    pub consumers: Option<u64>,
}

/// Which messages to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Browse {
    /// Of which queue.
    pub queue: Name,
    /// From which position on.
    pub from: u64,
    /// How many at most.
    pub most: NonZeroU32,
    /// How many bytes at most, but for the first message.
    pub bytes_max: ByteSize,
}

/// Some messages of a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The messages.
    pub messages: Vec<Browsed>,
    /// Where the next page begins, if there is one.
    pub next: Option<u64>,
}

/// A message as it lies in its queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Browsed {
    /// Where it stands.
    pub position: u64,
    /// What it is.
    pub content: Content,
    /// Its priority.
    pub priority: u8,
    /// How often it was delivered.
    pub deliveries: u32,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// When it may be delivered next: in the past when it may be now.
    pub due: Timestamp,
    /// Until when a consumer holds it, if one does.
    pub leased_until: Option<Timestamp>,
    /// Of what it died last, if it did.
    pub dead_letter: Option<Box<DeadLetter>>,
}
