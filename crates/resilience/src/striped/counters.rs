use std::sync::OnceLock;

use super::{Padded, STRIPES, stripe_of, thread_number};
use crate::sync::{AtomicU64, Ordering};

/// Counters that several threads raise.
///
/// The first [`STRIPES`] threads alive have a line of their own and need no atomic addition, which would cost as
/// much as what is counted; the others share as many lines in turn. A line is made when it is first written to:
/// there may be ten thousand of these, most of which are never counted with.
#[derive(Debug)]
pub(crate) struct StripedCounters<const N: usize> {
    owned: [Line<N>; STRIPES],
    shared: [Line<N>; STRIPES],
}

type Line<const N: usize> = OnceLock<Box<Padded<[AtomicU64; N]>>>;

impl<const N: usize> Default for StripedCounters<N> {
    fn default() -> Self {
        let line = |_| {
            let line = OnceLock::new();
            // loom does not see how a `OnceLock` orders what two threads do.
            if cfg!(intertie_loom) {
                line_of(&line);
            }
            line
        };
        Self { owned: std::array::from_fn(line), shared: std::array::from_fn(line) }
    }
}

impl<const N: usize> StripedCounters<N> {
    #[inline]
    pub(crate) fn increment(&self, counter: usize) {
        self.increment_as(thread_number(), counter);
    }

    pub(crate) fn sum(&self, counter: usize) -> u64 {
        let lines = self.owned.iter().chain(&self.shared).filter_map(OnceLock::get);
        lines.map(|line| line.0[counter].load(Ordering::Relaxed)).sum()
    }

    #[inline]
    fn increment_as(&self, thread: usize, counter: usize) {
        match self.owned.get(thread) {
            Some(own) => {
                // Only this thread writes here, until it gave its number back under a lock.
                let count = &line_of(own)[counter];
                count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
            None => {
                line_of(&self.shared[stripe_of(thread)])[counter].fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[inline]
fn line_of<const N: usize>(line: &Line<N>) -> &[AtomicU64; N] {
    &line.get_or_init(|| Box::new(Padded(std::array::from_fn(|_| AtomicU64::new(0))))).0
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
        let lines = |lines: &[Line<2>]| {
            lines.iter().map(|line| line_of(line)[1].load(Ordering::Relaxed)).collect::<Vec<_>>()
        };
        assert_eq!(lines(&counters.owned), [1; STRIPES]);
        assert_eq!(lines(&counters.shared), [2; STRIPES]);
        assert_eq!((counters.sum(0), counters.sum(1)), (0, 3 * STRIPES as u64));
    }
}
