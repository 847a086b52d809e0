use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use intertie_core::quantity::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Durability;
use crate::support::Feature;

/// What a specification may ask of an engine, apart from what every queue is: sent to, leased from, settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueFeature {
    /// `durable = true`.
    Durable,
    /// `durable = false`.
    Transient,
    /// One consumer at a time.
    Exclusive,
    /// Removal of queues that nobody uses.
    AutoDelete,
    /// An end of waiting for all messages, counted so.
    Ttl(TtlCounts),
    /// A lease that ends by itself, and whose late settlements are refused.
    VisibilityTimeout(Duration),
    /// The same settlement of the same lease again is known, for so long.
    SettlementWindow(Duration),
    /// Exactly so many deliveries, and then one dead letter.
    MaxDeliveries(NonZeroU32),
    /// Waits between deliveries.
    Redelivery,
    /// One dead letter of each message that dies, with its cause.
    DeadLetter,
    /// One copy of what was sent twice.
    Deduplication(Duration),
    /// So many priorities, strictly.
    Priorities(NonZeroU8),
    /// Order in each group, also while one of its messages is repeated.
    Groups,
    /// Messages for later.
    Delays,
    /// A bound on leases.
    LeasesMax(NonZeroU32),
    /// A bound on those of one consumer.
    LeasesPerConsumerMax(NonZeroU32),
    /// A bound on the size of messages.
    MessageBytesMax(ByteSize),
    /// A bound on the depth, by refusal.
    DepthMax,
    /// Receipts that mean at least this.
    Durability(Durability),
    /// A verb, beside those that every queue has.
    Verb(QueueVerb),
}

impl Feature for QueueFeature {
    fn key(self) -> &'static str {
        match self {
            Self::Durable | Self::Transient => "durable",
            Self::Exclusive => "exclusive",
            Self::AutoDelete => "auto_delete",
            Self::Ttl(_) => "ttl",
            Self::VisibilityTimeout(_) => "visibility_timeout",
            Self::SettlementWindow(_) => "settlement_window",
            Self::MaxDeliveries(_) => "max_deliveries",
            Self::Redelivery => "redelivery",
            Self::DeadLetter => "dead_letter",
            Self::Deduplication(_) => "deduplication_window",
            Self::Priorities(_) => "priorities",
            Self::Groups => "groups",
            Self::Delays => "delays",
            Self::LeasesMax(_) => "leases_max",
            Self::LeasesPerConsumerMax(_) => "leases_per_consumer_max",
            Self::MessageBytesMax(_) => "message_bytes_max",
            Self::DepthMax => "depth_max",
            Self::Durability(_) => "durability",
            Self::Verb(verb) => verb.name(),
        }
    }
}

/// What not every engine does with the messages of its queues. A queue may say that it
/// [`needs`](super::QueueSpec::needs) it; where it does not, an engine may still offer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueueVerb {
    /// [`QueueEngine::extend`](super::QueueEngine::extend): more time for a lease that stands.
    Extend,
    /// A time of its own for a lease, rather than the queue's:
    /// [`LeaseRequest::visibility_timeout`](super::LeaseRequest::visibility_timeout).
    LeaseTime,
    /// [`QueueEngine::browse`](super::QueueEngine::browse): to look without leasing.
    Browse,
    /// Receipts and leases tell where a message stands.
    Positions,
    /// [`Operation::Cancel`](crate::commit::Operation::Cancel), which needs a position.
    Cancel,
    /// [`Operation::Redrive`](crate::commit::Operation::Redrive), which needs a position.
    Redrive,
    /// A message dies at its `expirytime`. Where this is not offered, a message that has one is refused.
    Expirytime,
}

impl QueueVerb {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Extend,
        Self::LeaseTime,
        Self::Browse,
        Self::Positions,
        Self::Cancel,
        Self::Redrive,
        Self::Expirytime,
    ];

    /// As it stands in `needs`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Extend => "extend",
            Self::LeaseTime => "lease_time",
            Self::Browse => "browse",
            Self::Positions => "positions",
            Self::Cancel => "cancel",
            Self::Redrive => "redrive",
            Self::Expirytime => "expirytime",
        }
    }
}

/// What the `ttl` of a queue counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TtlCounts {
    /// Each wait by itself, from when the message may be delivered: none goes on while a consumer has it, and what was
    /// delivered begins to wait anew.
    #[default]
    Wait,
    /// All the time since the message might have been delivered first, also while consumers have it. Whether one that a
    /// consumer has dies at that moment, so that its lease is stale, or when it is given back, is the engine's.
    Age,
}
