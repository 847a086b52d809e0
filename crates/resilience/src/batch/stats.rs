use super::state::{Departure, Reason};

/// What a batcher did since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Items that wait now.
    pub waiting: usize,
    /// Batches in flight now.
    pub running: u32,
    /// Items sent.
    pub items: u64,
    /// Batches sent, the halves of failed ones aside. `items` / `batches` is the mean size.
    pub batches: u64,
    /// Items in the largest batch.
    pub size_largest: usize,
    /// Batches that went because they were full.
    pub sent_size: u64,
    /// Batches that went because nothing was in flight.
    pub sent_idle: u64,
    /// Batches that went because another had ended.
    pub sent_ended: u64,
    /// Batches that went because their first item had waited for the window.
    pub sent_window: u64,
    /// Failed batches, and failed halves of them, that were cut in two.
    pub bisections: u64,
    /// Items rejected because the queue was full.
    pub rejected: u64,
    /// Items that waited in vain.
    pub timed_out: u64,
}

impl Stats {
    pub(super) fn count(&mut self, departure: &Departure) {
        let size = departure.tickets.len();
        self.batches += 1;
        self.items += size as u64;
        self.size_largest = self.size_largest.max(size);
        *match departure.reason {
            Reason::Size => &mut self.sent_size,
            Reason::Idle => &mut self.sent_idle,
            Reason::Ended => &mut self.sent_ended,
            Reason::Window => &mut self.sent_window,
        } += 1;
    }
}
