//! Rolling counts over time: the common core of the circuit breaker's time window and the retry budget.

use std::time::Duration;

use intertie_core::clock::{Instant, nanos};

/// How finely a window slides: an event is forgotten between nine and ten tenths of the window after it
/// happened, when its bucket leaves.
const BUCKETS: usize = 10;

/// Two counts over the last `length` of time, kept in ten buckets and two running totals.
///
/// Adding is O(1) but for the buckets that passed since the last call, at most ten.
#[derive(Debug, Clone)]
pub(crate) struct TimeWindow {
    bucket_nanos: u64,
    /// The number of the newest bucket since the clock's origin.
    newest: u64,
    buckets: [Counts; BUCKETS],
    total: Counts,
}

/// Calls and those among them that mattered: failures, or retries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) all: u64,
    pub(crate) marked: u64,
}

impl TimeWindow {
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            bucket_nanos: (nanos(length) / BUCKETS as u64).max(1),
            newest: 0,
            buckets: [Counts::default(); BUCKETS],
            total: Counts::default(),
        }
    }

    /// Adds to the counts of the present bucket.
    pub(crate) fn add(&mut self, now: Instant, counts: Counts) {
        self.slide_to(now);
        let bucket = &mut self.buckets[(self.newest % BUCKETS as u64) as usize];
        bucket.all += counts.all;
        bucket.marked += counts.marked;
        self.total.all += counts.all;
        self.total.marked += counts.marked;
    }

    /// The counts of the window that ends now.
    pub(crate) fn total(&mut self, now: Instant) -> Counts {
        self.slide_to(now);
        self.total
    }

    /// Forgets the buckets that fell out of the window. A reading older than the newest bucket, as two
    /// threads may bring them, leaves the window where it is.
    fn slide_to(&mut self, now: Instant) {
        let present = now.as_nanos() / self.bucket_nanos;
        let passed = present.saturating_sub(self.newest);
        if passed == 0 {
            return;
        }
        for step in 1..=passed.min(BUCKETS as u64) {
            let gone = std::mem::take(&mut self.buckets[((self.newest + step) % BUCKETS as u64) as usize]);
            self.total.all -= gone.all;
            self.total.marked -= gone.marked;
        }
        self.newest = present;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The window equals a naive log of events filtered by bucket number.
        #[test]
        fn totals_equal_a_log(steps in prop::collection::vec((0_u64..3_000, any::<bool>()), 1..200)) {
            let mut window = TimeWindow::new(Duration::from_nanos(1_000));
            let mut log = Vec::new();
            let mut now = 0;
            for (step, marked) in steps {
                now += step;
                window.add(Instant::from_nanos(now), Counts { all: 1, marked: marked.into() });
                log.push((now / 100, marked));
                let alive = log.iter().filter(|(bucket, _)| bucket + 10 > now / 100);
                let expected = alive.fold(Counts::default(), |sum, (_, marked)| Counts {
                    all: sum.all + 1,
                    marked: sum.marked + u64::from(*marked),
                });
                prop_assert_eq!(window.total(Instant::from_nanos(now)), expected);
            }
        }
    }
}
