use super::{Padded, STRIPES, stripe_of, thread_number};
use crate::sync::{AtomicU64, Ordering};

/// Counters that several threads raise.
///
/// The first [`STRIPES`] threads alive have a line of their own and need no atomic addition, which would cost as
/// much as what is counted; the others share as many lines in turn. All lie here, though most are never written to:
/// to find a line through a pointer costs a call 8 ns.
#[derive(Debug)]
pub(crate) struct StripedCounters<const N: usize> {
    owned: [Padded<[AtomicU64; N]>; STRIPES],
    shared: [Padded<[AtomicU64; N]>; STRIPES],
}

impl<const N: usize> Default for StripedCounters<N> {
    fn default() -> Self {
        let line = |_| Padded(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { owned: std::array::from_fn(line), shared: std::array::from_fn(line) }
    }
}

impl<const N: usize> StripedCounters<N> {
    #[inline]
    pub(crate) fn increment(&self, counter: usize) {
        self.increment_as(thread_number(), counter);
    }

    pub(crate) fn sum(&self, counter: usize) -> u64 {
        self.owned.iter().chain(&self.shared).map(|line| line.0[counter].load(Ordering::Relaxed)).sum()
    }

    #[inline]
    fn increment_as(&self, thread: usize, counter: usize) {
        match self.owned.get(thread) {
            Some(Padded(own)) => {
                // Only this thread writes here, until it gave its number back under a lock.
                let count = &own[counter];
                count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
            None => {
                self.shared[stripe_of(thread)].0[counter].fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(all(test, not(intertie_loom)))]
mod tests {
    use super::*;

    #[test]
    fn threads_beyond_those_with_a_line_of_their_own_meet_as_rarely_as_can_be() {
        let counters = StripedCounters::<2>::default();
        for thread in 0..3 * STRIPES {
            counters.increment_as(thread, 1);
        }
        let lines = |lines: &[Padded<[AtomicU64; 2]>]| {
            lines.iter().map(|line| line.0[1].load(Ordering::Relaxed)).collect::<Vec<_>>()
        };
        assert_eq!(lines(&counters.owned), [1; STRIPES]);
        assert_eq!(lines(&counters.shared), [2; STRIPES]);
        assert_eq!((counters.sum(0), counters.sum(1)), (0, 3 * STRIPES as u64));
    }
}
