//! What is asked of a subject.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One message after the other, by as many senders.
    Send { senders: usize },
    /// Batches of [`BATCH`], one after the other, by 8 senders.
    Batch,
    /// One record after the other to a topic, by as many senders.
    Append { senders: usize },
    /// Batches of [`BATCH`] records to a topic, by 8 senders.
    AppendBatch,
    /// Messages are leased, so many at once at most, and settled, each by itself, by 32 consumers.
    Work { most: usize },
}

/// Messages of a batch.
pub const BATCH: usize = 100;

impl Mode {
    /// How many do it at the same time.
    pub fn workers(self) -> usize {
        match self {
            Self::Send { senders } | Self::Append { senders } => senders,
            Self::Batch | Self::AppendBatch => 8,
            Self::Work { .. } => 32,
        }
    }

    /// Whether it takes what lies there already.
    pub fn is_work(self) -> bool {
        matches!(self, Self::Work { .. })
    }

    pub fn title(self) -> String {
        match self {
            Self::Send { senders } => format!("single sends to a queue, {senders} senders"),
            Self::Batch => format!("batches of {BATCH} to a queue, 8 senders"),
            Self::Append { senders } => format!("single appends to a topic, {senders} senders"),
            Self::AppendBatch => format!("batches of {BATCH} to a topic, 8 senders"),
            Self::Work { most } => format!("lease and settle, 32 consumers, at most {most} leased at once"),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send { senders } => f.pad(&format!("send-{senders}")),
            Self::Batch => f.pad("batch"),
            Self::Append { senders } => f.pad(&format!("append-{senders}")),
            Self::AppendBatch => f.pad("appends"),
            Self::Work { most } => f.pad(&format!("work-{most}")),
        }
    }
}
