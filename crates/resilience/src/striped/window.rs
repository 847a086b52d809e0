use std::time::Duration;

use intertie_core::clock::{Instant, nanos};

use super::{Padded, STRIPES, stripe};
use crate::divisor::Divisor;
use crate::sync::{AtomicU64, Ordering, fence};
use crate::window::Counts;

/// How finely a window slides, as in [`crate::window::TimeWindow`]. Under loom two buckets stand for ten.
const BUCKETS: u64 = if cfg!(intertie_loom) { 2 } else { 10 };

/// Two counts over the last `length` of time, as [`crate::window::TimeWindow`] keeps them, for many threads.
///
/// Each thread adds to a stripe of its own, so that adding costs one atomic write to a line that this
/// thread owns; who wants the totals adds the stripes up.
///
/// A bucket is one word: its *lap* (how often the ring went round), the *epoch* in which it was counted,
/// the marked calls, and all calls. A bucket of another lap or epoch counts as empty, so nothing is ever
/// swept. Laps are told apart modulo 65,536: a bucket that nobody touched for that many windows would be
/// counted once more, if someone looks in that very lap or in the bucket before it, and takes no calls in the
/// eight laps before it. Epochs are told apart modulo 256 within one window.
#[derive(Debug)]
pub(crate) struct StripedWindow {
    bucket_nanos: Divisor,
    stripes: [Padded<[AtomicU64; BUCKETS as usize]>; STRIPES],
}

const ALL_BITS: u32 = 24;
const MARKED_BITS: u32 = 16;
const ALL_MAX: u64 = (1 << ALL_BITS) - 1;
const MARKED_MAX: u64 = (1 << MARKED_BITS) - 1;
const COUNTS: u64 = (1 << (ALL_BITS + MARKED_BITS)) - 1;

/// No thread is held up for more windows than this between reading the clock and counting its call. One that
/// is takes the place of newer calls.
const LAPS_LATE_MAX: i16 = 8;

impl StripedWindow {
    /// The most marked calls that one bucket of one stripe surely tells apart: beyond it both of its counts
    /// are halved, which keeps their ratio.
    pub(crate) const MARKED_TOLD_APART: u32 = (MARKED_MAX / 2) as u32;

    pub(crate) fn new(length: Duration) -> Self {
        Self { bucket_nanos: Divisor::new(nanos(length) / BUCKETS), stripes: Default::default() }
    }

    /// Counts one call that ended at `now`.
    #[inline]
    pub(crate) fn add(&self, now: Instant, epoch: u32, marked: bool) {
        let (place, tag) = self.bucket(now, epoch);
        let slot = &self.stripes[stripe()].0[place];
        let one = 1 | u64::from(marked) << ALL_BITS;
        let mut word = slot.load(Ordering::Relaxed);
        loop {
            let counts = word & COUNTS;
            let has_room = counts & ALL_MAX < ALL_MAX && counts >> ALL_BITS < MARKED_MAX;
            let base = match word & !COUNTS {
                same if same == tag && has_room => counts,
                same if same == tag => halved(counts),
                // This thread was held up while others went round the ring: its call is history.
                other if is_later(other, tag) => return,
                _ => 0,
            };
            // Not a mere addition: the bucket may be of another epoch by now, for which this call counts for
            // nothing.
            match slot.compare_exchange_weak(word, tag | (base + one), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(present) => word = present,
            }
        }
    }

    /// The counts of the window that ends at `now`, and of the bucket after it, in which only those can have
    /// counted who read the clock later. Of two threads that each add and then sum up, at least one sees both
    /// calls, unless one of them was held up for more than a bucket between reading the clock and summing up:
    /// the last failure of a limit would open nothing otherwise.
    pub(crate) fn total(&self, now: Instant, epoch: u32) -> Counts {
        // Between what this thread added and what it reads from others; without it neither might see the
        // other's call.
        fence(Ordering::SeqCst);
        let number = self.bucket_nanos.divide(now.as_nanos());
        let newest = number % BUCKETS;
        let ahead = tag((number + 1) / BUCKETS, epoch);
        let mut total = Counts::default();
        for Padded(stripe) in &self.stripes {
            for (place, slot) in stripe.iter().enumerate() {
                let age = (newest + BUCKETS - place as u64) % BUCKETS;
                let word = slot.load(Ordering::Relaxed);
                let of_window = number >= age && word & !COUNTS == tag((number - age) / BUCKETS, epoch);
                // The next bucket takes the place of the oldest.
                if of_window || (age == BUCKETS - 1 && word & !COUNTS == ahead) {
                    total.all += word & ALL_MAX;
                    total.marked += word >> ALL_BITS & MARKED_MAX;
                }
            }
        }
        total
    }

    fn bucket(&self, now: Instant, epoch: u32) -> (usize, u64) {
        let number = self.bucket_nanos.divide(now.as_nanos());
        ((number % BUCKETS) as usize, tag(number / BUCKETS, epoch))
    }
}

fn tag(lap: u64, epoch: u32) -> u64 {
    lap << (ALL_BITS + MARKED_BITS + 8) | u64::from(epoch & 0xff) << (ALL_BITS + MARKED_BITS)
}

/// Whether `tag` is of a slightly later lap than `than`, or of the same lap and a later epoch.
///
/// Both numbers wrap around, so only what is close can be called later. A bucket that rested for long may be
/// any number of laps and epochs behind; taken for a later one, it would swallow every call.
fn is_later(tag: u64, than: u64) -> bool {
    let lap = |tag: u64| (tag >> (ALL_BITS + MARKED_BITS + 8)) as i16;
    let epoch = |tag: u64| tag >> (ALL_BITS + MARKED_BITS) & 0xff;
    match lap(tag).wrapping_sub(lap(than)) {
        0 => (epoch(tag) as i8).wrapping_sub(epoch(than) as i8) > 0,
        laps => (1..=LAPS_LATE_MAX).contains(&laps),
    }
}

fn halved(counts: u64) -> u64 {
    ((counts & ALL_MAX) / 2) | (((counts >> ALL_BITS) / 2) << ALL_BITS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::window::TimeWindow;

    proptest! {
        /// On one thread it is the plain window.
        #[test]
        fn totals_equal_the_plain_window(
            steps in prop::collection::vec((0_u64..3_000, any::<bool>()), 1..200),
        ) {
            let striped = StripedWindow::new(Duration::from_nanos(1_000));
            let mut plain = TimeWindow::new(Duration::from_nanos(1_000));
            let mut now = 0;
            for (step, marked) in steps {
                now += step;
                let at = Instant::from_nanos(now);
                striped.add(at, 7, marked);
                plain.add(at, Counts { all: 1, marked: marked.into() });
                prop_assert_eq!(striped.total(at, 7), plain.total(at));
                prop_assert_eq!(striped.total(at, 8), Counts::default(), "another epoch saw nothing");
            }
        }
    }

    #[test]
    fn an_epoch_begins_empty_in_the_same_bucket() {
        let window = StripedWindow::new(Duration::from_secs(1));
        let now = Instant::from_nanos(5);
        window.add(now, 1, true);
        window.add(now, 2, false);
        assert_eq!(window.total(now, 2), Counts { all: 1, marked: 0 });
        assert_eq!(window.total(now, 1), Counts::default());
    }

    #[test]
    fn a_bucket_untouched_for_ages_takes_calls_again() {
        let length = Duration::from_nanos(1_000);
        for epochs in [0, 1, 127, 128, 200, 255] {
            for laps in [1, 2, 32_767, 32_768, 40_000, 65_000] {
                let window = StripedWindow::new(length);
                window.add(Instant::from_nanos(5), 0, true);
                let now = Instant::from_nanos(5 + laps * 1_000);
                window.add(now, epochs, true);
                let counted = window.total(now, epochs);
                assert_eq!(counted, Counts { all: 1, marked: 1 }, "{epochs} epochs and {laps} laps later");
            }
        }
    }

    #[test]
    fn a_call_that_was_held_up_replaces_no_later_bucket() {
        let window = StripedWindow::new(Duration::from_nanos(1_000));
        let (early, late) = (Instant::from_nanos(5), Instant::from_nanos(1_005));
        window.add(late, 3, true);
        window.add(late, 1, true);
        window.add(early, 3, true);
        assert_eq!(window.total(late, 3), Counts { all: 1, marked: 1 });
    }

    #[test]
    fn a_call_of_the_next_bucket_counts_for_who_read_the_clock_before() {
        let at = |bucket: u64| Instant::from_nanos(bucket * 100 + 5);
        for bucket in 0..25 {
            let window = StripedWindow::new(Duration::from_nanos(1_000));
            window.add(at(bucket + 1), 3, true);
            window.add(at(bucket), 3, false);
            assert_eq!(window.total(at(bucket), 3), Counts { all: 2, marked: 1 }, "bucket {bucket}");
            assert_eq!(window.total(at(bucket), 4), Counts::default(), "another epoch saw nothing");
            assert_eq!(window.total(at(bucket + 1), 3), Counts { all: 2, marked: 1 });
        }
    }

    #[test]
    fn no_call_of_many_threads_is_lost() {
        let window = StripedWindow::new(Duration::from_secs(1));
        let now = Instant::from_nanos(5);
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| (0..1_000).for_each(|n| window.add(now, 0, n % 10 == 0)));
            }
        });
        assert_eq!(window.total(now, 0), Counts { all: 12_000, marked: 1_200 });
    }

    #[test]
    fn a_full_bucket_keeps_its_ratio() {
        let window = StripedWindow::new(Duration::from_secs(1));
        let now = Instant::from_nanos(5);
        for _ in 0..200_000 {
            window.add(now, 0, true);
            window.add(now, 0, false);
        }
        let counts = window.total(now, 0);
        assert!(counts.marked >= u64::from(StripedWindow::MARKED_TOLD_APART), "{counts:?}");
        let share = counts.marked as f64 / counts.all as f64;
        assert!((share - 0.5).abs() < 0.001, "{counts:?}");
    }
}
