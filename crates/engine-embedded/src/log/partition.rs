//! One partition, as far as it is in memory.

use crate::moment::Moment;

/// Its counters, which are written once for a group of commands, and when it will be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Partition {
    pub(super) number: i64,
    /// The next position.
    pub(super) next: u64,
    /// Records that are kept. Without compaction these are the last ones, one at each position.
    pub(super) records: u64,
    /// What they say, in bytes.
    pub(super) bytes: u64,
    /// When it will be looked at what need not be kept.
    pub(super) alarm: Option<Moment>,
    pub(super) is_dirty: bool,
}

impl Partition {
    pub(super) fn new(number: i64) -> Self {
        Self { number, ..Self::default() }
    }

    /// Where the first record stands in a topic that is not compacted.
    pub(super) fn first(&self) -> u64 {
        self.next.saturating_sub(self.records)
    }

    /// Gives a position to a record of so many bytes.
    pub(super) fn add(&mut self, bytes: u64) -> u64 {
        let position = self.next;
        self.next += 1;
        self.records += 1;
        self.bytes += bytes;
        position
    }

    /// Counts out what was removed.
    pub(super) fn remove(&mut self, records: u64, bytes: u64) {
        self.records = self.records.saturating_sub(records);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
