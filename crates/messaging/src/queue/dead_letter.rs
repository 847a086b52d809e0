use intertie_core::clock::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Name;

/// Why a message is dead, kept with it. Of each dead message there is exactly one copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetter {
    /// What ended it.
    pub cause: Cause,
    /// What its last consumer said of it, if it said anything.
    pub reason: Option<String>,
    /// The queue in which it died.
    pub queue: Name,
    /// Where it stood in it.
    pub position: u64,
    /// How often it was delivered there.
    pub deliveries: u32,
    /// When it died.
    #[serde(with = "unix_nanos")]
    pub at: Timestamp,
    /// How often it was sent again before and came back.
    pub redrives: u32,
}

/// What ended a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It was delivered `max_deliveries` times and never acknowledged.
    MaxDeliveries,
    /// It waited longer than `ttl`, or than its own `expirytime`.
    Expired,
    /// A consumer settled it so.
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
