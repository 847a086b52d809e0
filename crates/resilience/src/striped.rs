//! What several threads write without passing a cache line between them: the stripe of a thread, counters,
//! and counts over a time window.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use intertie_core::clock::{Instant, nanos};

use crate::divisor::Divisor;
use crate::window::Counts;

/// Stripes of a striped structure; threads beyond the eighth share.
pub(crate) const STRIPES: usize = 8;

/// Keeps what is written by different threads on different cache lines, and apart from their neighbours,
/// which processors fetch in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// The stripe of the calling thread.
#[inline]
pub(crate) fn stripe() -> usize {
    thread_number() % STRIPES
}

/// A number that is this thread's alone while it is below [`STRIPES`]; others may be given twice.
#[inline]
pub(crate) fn thread_number() -> usize {
    match NUMBER.get() {
        NO_NUMBER => take_number(),
        number => number,
    }
}

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(NO_NUMBER) };
    static GIVE_BACK: GiveBack = const { GiveBack };
}

const NO_NUMBER: usize = usize::MAX;

/// Which of the numbers below [`STRIPES`] a living thread holds.
static HELD: Mutex<[bool; STRIPES]> = Mutex::new([false; STRIPES]);

#[cold]
fn take_number() -> usize {
    static OTHERS: AtomicUsize = AtomicUsize::new(0);
    // In a thread that is ending nobody would give the number back.
    let returns = GIVE_BACK.try_with(|_| ()).is_ok();
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    let own = held.iter().position(|held| returns && !held);
    if let Some(number) = own {
        held[number] = true;
    }
    let number = own.unwrap_or_else(|| STRIPES + OTHERS.fetch_add(1, Ordering::Relaxed) % STRIPES);
    NUMBER.set(number);
    number
}

/// Frees the thread's number when the thread ends.
struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        let number = NUMBER.replace(STRIPES);
        if let Some(held) = HELD.lock().unwrap_or_else(PoisonError::into_inner).get_mut(number) {
            *held = false;
        }
    }
}

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

/// How finely a window slides, as in [`crate::window::TimeWindow`].
const BUCKETS: u64 = 10;

/// Two counts over the last `length` of time, as [`crate::window::TimeWindow`] keeps them, for many threads.
///
/// Each thread adds to a stripe of its own, so that adding costs one atomic addition to a line that this
/// thread owns; who wants the totals adds the stripes up.
///
/// A bucket is one word: its *lap* (how often the ring went round), the *epoch* in which it was counted,
/// the marked calls, and all calls. A bucket of another lap or epoch counts as empty, so nothing is ever
/// swept. Laps are told apart modulo 65,536: a bucket that nobody touched for that many windows would be
/// counted once more, if someone looks in that very lap.
#[derive(Debug)]
pub(crate) struct StripedWindow {
    bucket_nanos: Divisor,
    stripes: [Padded<[AtomicU64; BUCKETS as usize]>; STRIPES],
}

/// Of two threads that each add and then sum up, at least one must see both calls: the last failure of a
/// limit would open nothing otherwise. Weaker orders allow that neither does.
const ORDER: Ordering = Ordering::SeqCst;

const ALL_BITS: u32 = 24;
const MARKED_BITS: u32 = 16;
const ALL_MAX: u64 = (1 << ALL_BITS) - 1;
const MARKED_MAX: u64 = (1 << MARKED_BITS) - 1;
/// Threads that share a stripe may all find room before one of them adds; this is more than there can be.
const MARGIN: u64 = 1 << 12;
const COUNTS: u64 = (1 << (ALL_BITS + MARKED_BITS)) - 1;

impl StripedWindow {
    /// The most marked calls that one bucket of one stripe surely tells apart: beyond it both of its counts
    /// are halved, which keeps their ratio.
    pub(crate) const MARKED_TOLD_APART: u32 = ((MARKED_MAX - MARGIN) / 2) as u32;

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
            let has_room = counts & ALL_MAX < ALL_MAX - MARGIN && counts >> ALL_BITS < MARKED_MAX - MARGIN;
            if word & !COUNTS == tag && has_room {
                // Another thread of this stripe may have turned the bucket meanwhile; then the call counts
                // one bucket later.
                slot.fetch_add(one, ORDER);
                return;
            }
            let base = match word & !COUNTS {
                same if same == tag => halved(counts),
                // This thread was held up while others went round the ring: its call is history.
                other if is_later(other, tag) => return,
                _ => 0,
            };
            match slot.compare_exchange_weak(word, tag | (base + one), ORDER, Ordering::Relaxed) {
                Ok(_) => return,
                Err(present) => word = present,
            }
        }
    }

    /// The counts of the window that ends at `now`.
    pub(crate) fn total(&self, now: Instant, epoch: u32) -> Counts {
        let number = self.bucket_nanos.divide(now.as_nanos());
        let newest = number % BUCKETS;
        let mut total = Counts::default();
        for Padded(stripe) in &self.stripes {
            for (place, slot) in stripe.iter().enumerate() {
                let age = (newest + BUCKETS - place as u64) % BUCKETS;
                let word = slot.load(ORDER);
                if number >= age && word & !COUNTS == tag((number - age) / BUCKETS, epoch) {
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

/// Whether `tag` is of a later epoch than `than`, or of a later lap of the same.
fn is_later(tag: u64, than: u64) -> bool {
    let lap = |tag: u64| (tag >> (ALL_BITS + MARKED_BITS + 8)) as i16;
    let epoch = |tag: u64| tag >> (ALL_BITS + MARKED_BITS) & 0xff;
    match (epoch(tag) as i8).wrapping_sub(epoch(than) as i8) {
        0 => lap(tag).wrapping_sub(lap(than)) > 0,
        difference => difference > 0,
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

    #[test]
    fn a_thread_that_ends_leaves_its_number_to_the_next() {
        // Other tests hold numbers too, but not all of them all the time.
        let numbers = (0..1_000).map(|_| std::thread::spawn(thread_number).join().expect("no panic"));
        assert!(numbers.skip(10 * STRIPES).any(|number| number < STRIPES));
    }
}
