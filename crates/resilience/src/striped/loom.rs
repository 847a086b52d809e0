//! Every order in which threads can meet at striped counts, by loom.

use std::time::Duration;

use intertie_core::clock::Instant;
use loom::sync::Arc;
use loom::thread;

use super::{STRIPES, StripedCounters, StripedWindow, be_thread};
use crate::window::Counts;

const LENGTH: Duration = Duration::from_nanos(100);
const NOW: Instant = Instant::from_nanos(5);

/// Runs `threads` at the same time on one `window`, each as the thread of its number, and `then` after them.
fn check<T: Send + 'static>(
    threads: [(usize, fn(&StripedWindow) -> T); 2],
    then: impl Fn(&StripedWindow, [T; 2]) + Send + Sync + 'static,
) {
    loom::model(move || {
        let window = Arc::new(StripedWindow::new(LENGTH));
        let handles = threads.map(|(number, run)| {
            let window = Arc::clone(&window);
            thread::spawn(move || {
                be_thread(number);
                run(&window)
            })
        });
        then(&window, handles.map(|handle| handle.join().expect("no panic")));
    });
}

#[test]
fn no_call_of_one_stripe_is_lost() {
    let adds = |window: &StripedWindow| window.add(NOW, 1, true);
    check([(0, adds), (0, adds)], |window, _| {
        assert_eq!(window.total(NOW, 1), Counts { all: 2, marked: 2 });
    });
}

/// The sum that one of two threads finds decides whether a breaker opens.
#[test]
fn of_two_threads_that_add_and_sum_up_one_sees_both_calls() {
    let adds: fn(&StripedWindow) -> u64 = |window| adds_and_sums_up(window, NOW);
    let adds_in_the_next_bucket: fn(&StripedWindow) -> u64 =
        |window| adds_and_sums_up(window, NOW + LENGTH / 2);
    let adds_in_the_next_lap: fn(&StripedWindow) -> u64 = |window| adds_and_sums_up(window, NOW + LENGTH);
    for (one, other) in
        [(adds, adds), (adds, adds_in_the_next_bucket), (adds_in_the_next_bucket, adds_in_the_next_lap)]
    {
        for number in [0, 1] {
            check([(0, one), (number, other)], |_, seen| {
                assert!(seen.contains(&2), "each thread missed the other's call: {seen:?}");
            });
        }
    }
}

fn adds_and_sums_up(window: &StripedWindow, now: Instant) -> u64 {
    window.add(now, 1, true);
    window.total(now, 1).marked
}

#[test]
fn a_call_of_an_old_epoch_never_counts_for_a_new_one() {
    let old = |window: &StripedWindow| window.add(NOW, 1, true);
    let new = |window: &StripedWindow| window.add(NOW, 4, false);
    check([(0, old), (0, new)], |window, _| {
        assert_eq!(window.total(NOW, 4), Counts { all: 1, marked: 0 });
    });
}

#[test]
fn a_call_of_an_old_epoch_in_a_used_bucket_never_counts_for_a_new_one() {
    let old = |window: &StripedWindow| {
        window.add(NOW, 1, true);
        window.add(NOW, 1, true);
    };
    let new = |window: &StripedWindow| window.add(NOW, 4, false);
    check([(0, old), (0, new)], |window, _| {
        assert_eq!(window.total(NOW, 4), Counts { all: 1, marked: 0 });
    });
}

#[test]
fn a_call_that_comes_late_takes_no_newer_call_away() {
    let late = |window: &StripedWindow| window.add(NOW, 1, true);
    let next_lap = |window: &StripedWindow| window.add(NOW + LENGTH, 1, true);
    check([(0, late), (0, next_lap)], |window, _| {
        assert_eq!(window.total(NOW + LENGTH, 1), Counts { all: 1, marked: 1 });
    });
}

#[test]
fn counters_lose_nothing_in_lines_of_their_own_or_in_shared_ones() {
    // Threads beyond the stripes share lines; those below have their numbers for themselves.
    const OTHER: usize = STRIPES;
    for numbers in [[0, 1], [0, OTHER], [OTHER, OTHER + 1], [OTHER, OTHER + STRIPES]] {
        loom::model(move || {
            let counters = Arc::new(StripedCounters::<1>::default());
            let raising = Arc::clone(&counters);
            let raises = thread::spawn(move || {
                be_thread(numbers[1]);
                raising.increment(0);
            });
            be_thread(numbers[0]);
            counters.increment(0);
            raises.join().expect("no panic");
            assert_eq!(counters.sum(0), 2);
        });
    }
}
