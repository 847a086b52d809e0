use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Copies of what threads write often, so that they seldom meet.
pub(super) const STRIPES: usize = 8;

/// A value on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Padded<T>(pub(super) T);

/// The stripe of this thread.
pub(super) fn stripe() -> usize {
    thread_number() % STRIPES
}

/// A number that is this thread's alone while it is below [`STRIPES`]; others may be given twice.
fn thread_number() -> usize {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_ends_leaves_its_number_to_the_next() {
        // Other tests hold numbers too, but not all of them all the time.
        let numbers = (0..1_000).map(|_| std::thread::spawn(thread_number).join().expect("no panic"));
        assert!(numbers.skip(10 * STRIPES).any(|number| number < STRIPES));
    }
}
