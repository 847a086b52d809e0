use super::{Padded, STRIPES, thread_number};
use crate::sync::{AtomicU64, Ordering};

/// Counters that several threads raise.
///
/// The first [`STRIPES`] threads alive have a line of their own and need no atomic addition, which would cost as
/// much as what is counted; the others share the last line.
#[derive(Debug)]
pub(crate) struct StripedCounters<const N: usize> {
    owned: [Padded<[AtomicU64; N]>; STRIPES],
    shared: Padded<[AtomicU64; N]>,
}

impl<const N: usize> Default for StripedCounters<N> {
    fn default() -> Self {
        let line = || Padded(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { owned: std::array::from_fn(|_| line()), shared: line() }
    }
}

impl<const N: usize> StripedCounters<N> {
    #[inline]
    pub(crate) fn increment(&self, counter: usize) {
        match self.owned.get(thread_number()) {
            Some(Padded(own)) => {
                // Only this thread writes here, until it gave its number back under a lock.
                let count = &own[counter];
                count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
            None => {
                self.shared.0[counter].fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn sum(&self, counter: usize) -> u64 {
        self.owned.iter().chain([&self.shared]).map(|line| line.0[counter].load(Ordering::Relaxed)).sum()
    }
}
