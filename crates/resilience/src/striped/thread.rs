//! Numbers of threads, by which each finds its stripe.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::STRIPES;

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
