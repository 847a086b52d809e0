use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::{Instant, timeout};

use super::*;

fn bulkhead(concurrent: u32, queue: u32, wait_ms: u64) -> Bulkhead {
    let concurrent = NonZeroU32::new(concurrent).expect("not zero");
    Bulkhead::new(BulkheadConfig { concurrent, queue, wait: Duration::from_millis(wait_ms) }).expect("valid")
}

#[tokio::test(start_paused = true)]
async fn waits_in_order_and_no_longer_than_allowed() {
    let bulkhead = bulkhead(1, 2, 100);
    let held = bulkhead.acquire(None).await.expect("free");
    let first = tokio::spawn({
        let bulkhead = bulkhead.clone();
        async move { bulkhead.acquire(None).await.map(|permit| (permit, Instant::now())) }
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
    let start = Instant::now();
    bulkhead.acquire(Some(Duration::from_millis(30))).await.expect_err("too long");
    assert_eq!(start.elapsed(), Duration::from_millis(30));
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
    assert_eq!(bulkhead.stats().running, 0);
}

#[test]
fn contradictory_settings_are_refused_by_name() {
    let config = |queue, wait| BulkheadConfig { concurrent: NonZeroU32::MIN, queue, wait };
    assert_eq!(config(1, Duration::ZERO).validate().expect_err("no wait").field, "wait");
    assert_eq!(config(0, Duration::from_secs(1)).validate().expect_err("no queue").field, "queue");
}

proptest! {
    /// The state against two lists.
    #[test]
    fn places_and_queue_equal_two_lists(
        concurrent in 1_u32..4,
        queue in 0_u32..4,
        steps in prop::collection::vec((0_u8..4, 0_usize..8), 1..300),
    ) {
        let mut state = State::new(concurrent, queue);
        let mut running = 0;
        let mut waiting: VecDeque<Ticket> = VecDeque::new();
        for (what, which) in steps {
            match what {
                0 | 1 => match state.arrive() {
                    Arrival::Running => {
                        prop_assert!(waiting.is_empty());
                        running += 1;
                    }
                    Arrival::Waiting(ticket) => {
                        prop_assert_eq!(running, concurrent);
                        waiting.push_back(ticket);
                    }
                    Arrival::Rejected => prop_assert_eq!(waiting.len(), queue as usize),
                },
                2 if running > 0 => {
                    let granted = state.leave();
                    prop_assert_eq!(granted, waiting.pop_front());
                    running -= u32::from(granted.is_none());
                }
                3 if !waiting.is_empty() => {
                    let ticket = waiting.remove(which % waiting.len()).expect("in range");
                    prop_assert!(state.abandon(ticket));
                    prop_assert!(!state.abandon(ticket));
                }
                _ => {}
            }
            prop_assert!(state.running() <= concurrent);
            prop_assert_eq!(state.running(), running);
            prop_assert_eq!(state.waiting(), waiting.len());
        }
    }
}
