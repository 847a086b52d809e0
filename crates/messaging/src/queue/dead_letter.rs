use intertie_core::clock::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Name;

/// Why a message is dead, kept with it. Of each dead message there is exactly one copy.
///
/// It is a report and no promise: what a later version says beyond this is left out when it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// What ended it.
    pub cause: Cause,
    /// What its last consumer said of it, if it said anything: at most [`DeadLetter::REASON_BYTES_MAX`] bytes.
    pub reason: Option<String>,
    /// Where it died last.
    pub origin: Origin,
    /// How often it was delivered there.
    pub deliveries: u32,
    /// When it died.
    #[serde(with = "unix_nanos")]
    pub at: Timestamp,
    /// How often it was redriven: sent again after it had died. It grows with each
    /// [`Redrive`](crate::commit::Operation::Redrive), whatever queues it goes through.
    pub redrives: u32,
}

impl DeadLetter {
    /// The longest reason that is kept, in bytes. What is said beyond that is cut off.
    pub const REASON_BYTES_MAX: usize = 1024;

    /// As much of `reason` as is kept.
    pub fn kept_reason(mut reason: String) -> String {
        reason.truncate(reason.floor_char_boundary(Self::REASON_BYTES_MAX));
        reason
    }
}

/// Where a message died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// In a queue.
    Queue {
        /// Which one.
        queue: Name,
        /// Where it stood in it, if its engine tells.
        position: Option<u64>,
    },
    /// In the hands of a group that reads a topic, in which the record stays.
    Topic {
        /// Which one.
        topic: Name,
        /// Of which group.
        group: Name,
        /// In which partition.
        partition: u32,
        /// Where it stands in it.
        position: u64,
    },
}

/// What ended a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It was delivered `max_deliveries` times and never acknowledged.
    MaxDeliveries,
    /// It waited longer than `ttl`, or than its own `expirytime`.
    Expired,
    /// A consumer said that it never will be done.
    Rejected,
    /// Its bytes are no envelope.
    Undecodable,
}

impl Cause {
    /// The name that labels it in metrics and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxDeliveries => "max_deliveries",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::Undecodable => "undecodable",
        }
    }
}

mod unix_nanos {
    use intertie_core::clock::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        at.as_unix_nanos().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(deserializer).map(Timestamp::from_unix_nanos)
    }
}
