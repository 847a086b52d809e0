use super::{Padded, STRIPES, stripe};
use crate::sync::{AtomicU64, Ordering};

/// Counters that several threads raise, each on a line of its own.
#[derive(Debug)]
pub(crate) struct StripedCounters<const N: usize>([Padded<[AtomicU64; N]>; STRIPES]);

impl<const N: usize> Default for StripedCounters<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Padded(std::array::from_fn(|_| AtomicU64::new(0)))))
    }
}

impl<const N: usize> StripedCounters<N> {
    #[inline]
    pub(crate) fn increment(&self, counter: usize) {
        self.0[stripe()].0[counter].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn sum(&self, counter: usize) -> u64 {
        self.0.iter().map(|stripe| stripe.0[counter].load(Ordering::Relaxed)).sum()
    }
}
