use std::sync::atomic::{AtomicU64, Ordering};

use crate::striped::{Padded, STRIPES, thread_number};

/// Counts of calls.
///
/// The first [`STRIPES`] threads alive have a line of their own and need no atomic addition, which would
/// cost as much as the limiter's own word; the others share the last line.
#[derive(Debug, Default)]
pub(super) struct Counters {
    owned: [Padded<Counts>; STRIPES],
    shared: Padded<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    admitted: AtomicU64,
    rejected: AtomicU64,
}

impl Counts {
    fn of(&self, admitted: bool) -> &AtomicU64 {
        if admitted { &self.admitted } else { &self.rejected }
    }
}

impl Counters {
    /// Counts one call.
    #[inline]
    pub(super) fn count(&self, admitted: bool) {
        match self.owned.get(thread_number()) {
            Some(Padded(own)) => {
                // Only this thread writes here, until it gave its number back under a lock.
                let count = own.of(admitted);
                count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
            None => {
                self.shared.0.of(admitted).fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Calls admitted and rejected.
    pub(super) fn totals(&self) -> (u64, u64) {
        self.owned.iter().chain([&self.shared]).fold((0, 0), |(admitted, rejected), Padded(counts)| {
            (
                admitted + counts.admitted.load(Ordering::Relaxed),
                rejected + counts.rejected.load(Ordering::Relaxed),
            )
        })
    }
}
