mod adaptive;
mod gradient;
mod queue;

use std::collections::VecDeque;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::criticality::Criticality;
use intertie_core::rejection::Policy;
use proptest::prelude::*;
use tokio::time::timeout;

use super::gate::{Entry, Gate};
use super::wait::Wait;
use super::*;
use crate::MonotonicClock;

fn bulkhead(concurrent: u32, queue: u32, wait_ms: u64) -> Bulkhead {
    let concurrent = NonZeroU32::new(concurrent).expect("not zero");
    let wait = Duration::from_millis(wait_ms);
    Bulkhead::new(BulkheadConfig { queue, wait, ..BulkheadConfig::new(concurrent) }).expect("valid")
}

#[tokio::test(start_paused = true)]
async fn waits_in_order_and_no_longer_than_allowed() {
    let bulkhead = bulkhead(1, 2, 100);
    let held = bulkhead.acquire(None).await.expect("free");
    let first = tokio::spawn({
        let bulkhead = bulkhead.clone();
        async move { bulkhead.acquire_owned(None).await.map(|permit| (permit, MonotonicClock::now())) }
    });
    tokio::task::yield_now().await;
    let second = tokio::spawn({
        let bulkhead = bulkhead.clone();
        async move { bulkhead.acquire(None).await.map(drop) }
    });
    tokio::task::yield_now().await;
    assert_eq!(bulkhead.stats().waiting, 2);
    assert_eq!(bulkhead.acquire(None).await.expect_err("the queue is full").bound, "queue");

    drop(held);
    let (permit, _) = first.await.expect("no panic").expect("first in line");
    assert_eq!(second.await.expect("no panic").expect_err("waited 100 ms").bound, "wait");
    drop(permit);
    let stats = bulkhead.stats();
    assert_eq!((stats.running, stats.waiting, stats.rejected, stats.timed_out), (0, 0, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_callers_deadline_shortens_the_wait() {
    let bulkhead = bulkhead(1, 1, 1_000);
    let _held = bulkhead.acquire(None).await.expect("free");
    let start = MonotonicClock::now();
    let rejection = bulkhead.acquire(Some(Duration::from_millis(30))).await.expect_err("too long");
    assert_eq!(MonotonicClock::now().saturating_since(start), Duration::from_millis(30));
    assert_eq!((rejection.by, rejection.bound, rejection.retry_after), (Policy::Deadline, "deadline", None));
    let stats = bulkhead.stats();
    assert_eq!((stats.deadline_exceeded, stats.timed_out, stats.rejected, stats.waiting), (1, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn trying_never_waits_and_never_overtakes() {
    let bulkhead = bulkhead(1, 1, 1_000);
    let held = bulkhead.try_acquire().expect("free");
    assert_eq!(bulkhead.try_acquire().expect_err("taken").bound, "concurrent");
    let mut waiting = Box::pin(bulkhead.acquire_owned(None));
    assert!(timeout(Duration::ZERO, &mut waiting).await.is_err(), "it waits");
    drop(held);
    assert!(bulkhead.try_acquire_owned().is_err(), "the place belongs to the call that waits");
    let permit = waiting.await.expect("granted");
    assert_eq!(bulkhead.stats().running, 1);
    drop(permit);
    assert!(bulkhead.try_acquire_owned().is_ok());
    assert_eq!((bulkhead.stats().admitted, bulkhead.stats().rejected), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_panic_gives_the_place_back() {
    let bulkhead = bulkhead(1, 0, 0);
    let task = tokio::spawn({
        let bulkhead = bulkhead.clone();
        async move {
            let _permit = bulkhead.acquire(None).await.expect("free");
            panic!("in the user's code");
        }
    });
    assert!(task.await.expect_err("it panicked").is_panic());
    assert!(bulkhead.try_acquire().is_ok());
}

#[test]
fn threads_share_the_places_exactly() {
    let bulkhead = bulkhead(3, 0, 0);
    let inside = AtomicU32::new(0);
    let admitted: u64 = thread::scope(|scope| {
        let call = || {
            let mut admitted = 0;
            for _ in 0..20_000 {
                let Ok(_permit) = bulkhead.try_acquire() else { continue };
                admitted += 1;
                assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                inside.fetch_sub(1, Ordering::SeqCst);
            }
            admitted
        };
        let threads: Vec<_> = (0..5).map(|_| scope.spawn(call)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    let stats = bulkhead.stats();
    assert_eq!((stats.running, stats.admitted, stats.rejected), (0, admitted, 100_000 - admitted));
}

#[tokio::test(start_paused = true)]
async fn a_place_granted_to_a_cancelled_call_goes_to_the_next() {
    let bulkhead = bulkhead(1, 2, 1_000);
    let held = bulkhead.acquire(None).await.expect("free");
    let mut cancelled = Box::pin(bulkhead.acquire(None));
    assert!(timeout(Duration::ZERO, &mut cancelled).await.is_err(), "it waits");
    let next = tokio::spawn({
        let bulkhead = bulkhead.clone();
        async move { bulkhead.acquire(None).await.map(drop) }
    });
    tokio::task::yield_now().await;
    drop(held);
    drop(cancelled);
    next.await.expect("no panic").expect("the place moved on");
    assert_eq!((bulkhead.stats().running, bulkhead.stats().admitted), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_turned_out_is_told() {
    let bulkhead = bulkhead(1, 1, 1_000);
    let held = bulkhead.acquire(None).await.expect("free");
    let sheddable = Caller { criticality: Criticality::Sheddable, ..Caller::default() };
    let mut sheddable = Box::pin(bulkhead.acquire(sheddable));
    assert!(timeout(Duration::ZERO, &mut sheddable).await.is_err(), "it waits");
    let mut default = Box::pin(bulkhead.acquire(None));
    assert!(timeout(Duration::ZERO, &mut default).await.is_err(), "it waits");
    assert_eq!(sheddable.await.expect_err("turned out").bound, "turned_out");
    assert_eq!(bulkhead.acquire(None).await.expect_err("no seat of a lower one").bound, "queue");
    drop(held);
    default.await.map(drop).expect("granted");
    let stats = bulkhead.stats();
    assert_eq!((stats.admitted, stats.turned_out, stats.rejected, stats.timed_out), (2, 1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_time_to_run_is_dropped_when_its_turn_comes() {
    let config = BulkheadConfig {
        queue: 2,
        wait: Duration::from_secs(1),
        run_min: Duration::from_millis(20),
        ..BulkheadConfig::new(NonZeroU32::MIN)
    };
    let bulkhead = Bulkhead::new(config).expect("valid");
    let held = bulkhead.acquire(None).await.expect("free");
    let mut hurried = Box::pin(bulkhead.acquire(Some(Duration::from_millis(100))));
    assert!(timeout(Duration::from_millis(85), &mut hurried).await.is_err(), "it waits");
    let mut patient = Box::pin(bulkhead.acquire(None));
    assert!(timeout(Duration::ZERO, &mut patient).await.is_err(), "it waits");
    drop(held);
    let rejection = hurried.await.expect_err("15 ms of the 20 that it needs are left");
    assert_eq!((rejection.by, rejection.bound), (Policy::Deadline, "deadline"));
    patient.await.map(drop).expect("the place went to the next");
    let stats = bulkhead.stats();
    assert_eq!((stats.admitted, stats.deadline_exceeded, stats.timed_out), (2, 1, 0));
    assert_eq!((stats.running, stats.waiting), (0, 0));
    let last = bulkhead.acquire(Some(Duration::ZERO)).await;
    assert!(last.is_ok(), "what need not wait is not judged by its deadline");
}

#[tokio::test(start_paused = true)]
async fn a_late_call_that_nobody_follows_leaves_its_place_free() {
    let config = BulkheadConfig {
        queue: 1,
        wait: Duration::from_secs(1),
        run_min: Duration::from_secs(1),
        ..BulkheadConfig::new(NonZeroU32::MIN)
    };
    let bulkhead = Bulkhead::new(config).expect("valid");
    let held = bulkhead.acquire(None).await.expect("free");
    let mut late = Box::pin(bulkhead.acquire(Some(Duration::from_millis(100))));
    assert!(timeout(Duration::ZERO, &mut late).await.is_err(), "it waits");
    drop(held);
    assert_eq!(bulkhead.stats().running, 0);
    assert!(bulkhead.try_acquire().is_ok());
    assert_eq!(late.await.expect_err("late").bound, "deadline");
}

#[test]
fn contradictory_settings_are_refused_by_name() {
    let config = |queue, wait| BulkheadConfig { queue, wait, ..BulkheadConfig::new(NonZeroU32::MIN) };
    assert_eq!(config(1, Duration::ZERO).validate().expect_err("no wait").field, "wait");
    assert_eq!(config(0, Duration::from_secs(1)).validate().expect_err("no queue").field, "queue");
    let none = BulkheadConfig::new(NonZeroU32::MIN);
    let lifo = BulkheadConfig { order: Order::Lifo, ..none.clone() };
    assert_eq!(lifo.validate().expect_err("no queue").field, "order");
    let run_min = BulkheadConfig { run_min: Duration::from_millis(1), ..none };
    assert_eq!(run_min.validate().expect_err("no queue").field, "run_min");
}

proptest! {
    /// The gate, from any stripe, against a count and a list.
    #[test]
    fn places_and_queue_equal_a_count_and_a_list(
        concurrent in 1_u32..5,
        queue in 0_u32..4,
        stripes in 0_u32..4,
        steps in prop::collection::vec((0_u8..6, 0_usize..9, 0_usize..8), 1..300),
    ) {
        let seats = Queue::new(Order::Fifo, queue, Duration::ZERO);
        let gate = Gate::new(concurrent, 1 << stripes, seats, || Instant::ORIGIN);
        let mut context = Context::from_waker(Waker::noop());
        let (mut limit, mut running) = (concurrent, 0);
        let mut waiting: VecDeque<Pin<Box<Wait<'_>>>> = VecDeque::new();
        let (mut admitted, mut rejected) = (0, 0);
        for (what, home, which) in steps {
            match what {
                0..=2 => match gate.enter(home, (what > 0).then(Caller::default)) {
                    Entry::Running => {
                        prop_assert!(running < limit && waiting.is_empty());
                        running += 1;
                        admitted += 1;
                    }
                    Entry::Waiting(wait) => {
                        prop_assert!(running >= limit);
                        let mut wait = Box::pin(wait);
                        prop_assert!(wait.as_mut().poll(&mut context).is_pending());
                        waiting.push_back(wait);
                    }
                    Entry::Rejected => {
                        prop_assert!(running >= limit);
                        prop_assert!(what == 0 || waiting.len() == queue as usize);
                        rejected += 1;
                    }
                },
                3 if running > 0 => {
                    gate.leave(home);
                    running -= 1;
                }
                4 if !waiting.is_empty() => drop(waiting.remove(which % waiting.len())),
                5 if which < 4 => {
                    limit = which as u32 + 1;
                    gate.resize(limit);
                }
                _ => {}
            }
            while running < limit && !waiting.is_empty() {
                let mut next = waiting.pop_front().expect("not empty");
                prop_assert!(next.as_mut().poll(&mut context).is_ready());
                running += 1;
                admitted += 1;
            }
            for wait in &mut waiting {
                prop_assert!(wait.as_mut().poll(&mut context).is_pending());
            }
            let (limits, runs, waits, counts) = gate.count();
            prop_assert_eq!((limits, runs, waits), (limit, running, waiting.len()));
            prop_assert_eq!((counts.admitted, counts.rejected), (admitted, rejected));
        }
    }
}
