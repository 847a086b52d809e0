use std::time::Duration;

use intertie_core::clock::Timestamp;
use intertie_core::envelope::Envelope;

/// What a producer sends to a queue.
///
/// The group of a message is the `partitionkey` of its envelope, its end the `expirytime`, and two messages of one
/// `source` and `id` are the same message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// What it says.
    pub envelope: Envelope,
    /// Higher ones are delivered first; below `priorities` of the queue.
    pub priority: u8,
    /// When it may be delivered for the first time.
    pub due: Due,
}

impl From<Envelope> for Message {
    /// A message of priority 0 that is due at once.
    fn from(envelope: Envelope) -> Self {
        Self { envelope, priority: 0, due: Due::Now }
    }
}

/// When a message may be delivered for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// At once.
    Now,
    /// So long after the engine has stored it, by the engine's clock.
    After(Duration),
    /// At this moment of the engine's clock, or at once when that has passed.
    At(Timestamp),
}

impl Due {
    /// The moment, for a message that is stored at `now`.
    pub fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Now => now,
            Self::After(delay) => {
                let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
                Timestamp::from_unix_nanos(now.as_unix_nanos().saturating_add(delay))
            }
            Self::At(moment) => moment.max(now),
        }
    }
}

/// What an engine hands out: a message, or bytes that are none.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// An envelope, as it was sent.
    Envelope(Envelope),
    /// Bytes that somebody else put there and nobody can read; they go to the dead letters as they came.
    Undecodable {
        /// As they came.
        bytes: bytes::Bytes,
        /// What the engine said of them: names and values of headers.
        headers: Vec<(String, String)>,
        /// Why they are no envelope.
        problem: String,
    },
}
