mod callers;
mod config;
mod failures;
mod schedules;

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use intertie_core::failure::Class;
use tokio::time::{Instant, advance};

use super::*;
use crate::by_hand::{Call, Steps, settle};

type Outcome = Result<u64, BatchError<&'static str>>;

const MILLISECOND: Duration = Duration::from_millis(1);

fn config(size_max: u32) -> BatchConfig {
    BatchConfig::new(NonZeroU32::new(size_max).expect("not zero"))
}

/// A service that notes the batches it gets and answers when the test lets it.
#[derive(Clone, Default)]
struct Service {
    batches: Arc<Mutex<Vec<Batch>>>,
    /// Items of batches that are neither answered nor dropped.
    running: Arc<Mutex<Vec<Vec<u64>>>>,
}

/// Its items, and what the test finishes it with.
type Batch = (Vec<u64>, Steps);

struct Running(Vec<u64>, Service);

impl Drop for Running {
    fn drop(&mut self) {
        self.1.running.lock().expect("no panic").retain(|items| *items != self.0);
    }
}

impl Service {
    /// Items above 1000 fail alone, 666 fails its whole batch, 667 panics.
    fn batcher(&self, config: BatchConfig, steps: usize) -> Batcher<u64, u64, &'static str> {
        let service = self.clone();
        let function = move |items: Vec<u64>| {
            let steps = Steps::new(steps);
            service.batches.lock().expect("no panic").push((items.clone(), steps.clone()));
            service.running.lock().expect("no panic").push(items.clone());
            let running = Running(items.clone(), service.clone());
            async move {
                let _running = running;
                steps.ended().await;
                if items.contains(&666) {
                    return Err("poison");
                }
                assert!(!items.contains(&667), "as ordered by the test");
                Ok(items
                    .into_iter()
                    .map(|item| if item > 1000 { Err("bad item") } else { Ok(item * 10) })
                    .collect())
            }
        };
        Batcher::new(config, function).expect("valid")
    }

    fn batches(&self) -> Vec<Vec<u64>> {
        self.batches.lock().expect("no panic").iter().map(|(items, _)| items.clone()).collect()
    }

    fn steps(&self, which: usize) -> Steps {
        self.batches.lock().expect("no panic")[which].1.clone()
    }
}

fn call(batcher: &Batcher<u64, u64, &'static str>, item: u64) -> Call<Outcome> {
    let batcher = batcher.clone();
    Call::new(async move { batcher.call(item).await })
}

fn calls(
    batcher: &Batcher<u64, u64, &'static str>,
    items: impl IntoIterator<Item = u64>,
) -> Vec<Call<Outcome>> {
    let mut calls: Vec<_> = items.into_iter().map(|item| call(batcher, item)).collect();
    settle(&mut calls);
    calls
}

fn outputs(calls: &[Call<Outcome>]) -> Vec<Option<Outcome>> {
    calls.iter().map(|call| call.output().cloned()).collect()
}

/// Outside a runtime, where a timer would panic.
#[test]
fn an_item_that_comes_while_nothing_is_in_flight_goes_at_once_without_a_timer() {
    let service = Service::default();
    let batcher = service.batcher(config(10), 0);
    for item in 1..=3 {
        let mut call = call(&batcher, item);
        assert!(call.poll(), "in its first poll");
        assert_eq!(call.output(), Some(&Ok(item * 10)));
    }
    let stats = batcher.stats();
    assert_eq!((stats.batches, stats.items, stats.sent_idle, stats.size_largest), (3, 3, 3, 1));
    assert_eq!((stats.running, stats.waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn items_that_come_while_a_batch_is_in_flight_go_when_it_ends() {
    let service = Service::default();
    let batcher = service.batcher(config(4), 1);
    let mut calls = calls(&batcher, 1..=7);
    assert_eq!(service.batches(), [vec![1]]);
    for batch in 0..3 {
        service.steps(batch).finish();
        settle(&mut calls);
    }
    assert_eq!(service.batches(), [vec![1], vec![2, 3, 4, 5], vec![6, 7]]);
    assert_eq!(outputs(&calls), (1..=7).map(|item| Some(Ok(item * 10))).collect::<Vec<_>>());
    let stats = batcher.stats();
    assert_eq!((stats.sent_idle, stats.sent_size, stats.sent_ended, stats.size_largest), (1, 1, 1, 4));
    assert_eq!((stats.running, stats.waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn with_a_place_free_items_wait_for_the_window_or_for_a_full_batch() {
    let service = Service::default();
    let batcher = service.batcher(
        BatchConfig { window: 5 * MILLISECOND, concurrent: NonZeroU32::new(3).expect("3"), ..config(3) },
        1,
    );
    let mut all = calls(&batcher, [1, 2]);
    advance(4 * MILLISECOND).await;
    settle(&mut all);
    assert_eq!(service.batches(), [vec![1]], "4 ms of the window are over");
    advance(MILLISECOND).await;
    settle(&mut all);
    assert_eq!(service.batches(), [vec![1], vec![2]]);
    all.extend(calls(&batcher, [3, 4, 5]));
    assert_eq!(service.batches()[2], [3, 4, 5], "full: no wait");
    all.extend(calls(&batcher, [6]));
    advance(100 * MILLISECOND).await;
    settle(&mut all);
    assert_eq!(service.batches().len(), 3, "no place is free, whatever the window says");
    service.steps(1).finish();
    settle(&mut all);
    assert_eq!(service.batches()[3], [6]);
    let stats = batcher.stats();
    assert_eq!((stats.sent_idle, stats.sent_window, stats.sent_size, stats.sent_ended), (1, 1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_window_closes_although_its_first_caller_is_polled_no_more() {
    let service = Service::default();
    let concurrent = NonZeroU32::new(2).expect("2");
    let batcher = service.batcher(BatchConfig { window: 5 * MILLISECOND, concurrent, ..config(9) }, 1);
    let mut all = calls(&batcher, [1, 2, 3]);
    advance(6 * MILLISECOND).await;
    settle(&mut all[2..]);
    assert_eq!(service.batches(), [vec![1], vec![2, 3]]);
    service.steps(1).finish();
    settle(&mut all[2..]);
    assert_eq!(all[2].output(), Some(&Ok(30)), "and its batch goes on as well");
}

fn rejected_by(output: Option<&Outcome>) -> Option<&'static str> {
    match output {
        Some(Err(BatchError::Rejected(rejection))) => Some(rejection.bound),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_that_waited_too_long_is_not_sent_and_its_caller_is_told() {
    let service = Service::default();
    let batcher = service.batcher(BatchConfig { wait: 50 * MILLISECOND, ..config(3) }, 1);
    let mut all = calls(&batcher, [0]);
    let hurried = {
        let batcher = batcher.clone();
        Call::new(async move { batcher.call_within(1, 10 * MILLISECOND).await })
    };
    all.extend([hurried, call(&batcher, 2)]);
    settle(&mut all);
    advance(10 * MILLISECOND).await;
    settle(&mut all);
    assert_eq!(
        all.iter().map(|call| rejected_by(call.output())).collect::<Vec<_>>(),
        [None, Some("wait"), None]
    );
    advance(30 * MILLISECOND).await;
    all.extend(calls(&batcher, [3]));
    advance(20 * MILLISECOND).await;
    // 2 has expired and its caller was not polled since: the end of the batch drops the item all the same.
    service.steps(0).finish();
    assert!(all[0].poll());
    assert_eq!(batcher.stats().timed_out, 2);
    settle(&mut all);
    assert_eq!(rejected_by(all[2].output()), Some("wait"));
    service.steps(1).finish();
    settle(&mut all);
    assert_eq!(service.batches(), [vec![0], vec![3]]);
    assert_eq!((all[3].output(), batcher.stats().timed_out), (Some(&Ok(30)), 2));
}

#[tokio::test(start_paused = true)]
async fn no_time_left_is_enough_for_an_item_that_need_not_wait() {
    let service = Service::default();
    let batcher = service.batcher(config(3), 1);
    let at_once = |item| {
        let batcher = batcher.clone();
        Call::new(async move { batcher.call_within(item, Duration::ZERO).await })
    };
    let mut all = [at_once(1), at_once(2)];
    settle(&mut all);
    service.steps(0).finish();
    settle(&mut all);
    assert_eq!(all[0].output(), Some(&Ok(10)));
    assert_eq!(rejected_by(all[1].output()), Some("wait"));
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded() {
    let service = Service::default();
    let batcher = service.batcher(BatchConfig { queue: NonZeroU32::new(3), ..config(2) }, 1);
    let mut all = calls(&batcher, 0..=4);
    assert_eq!(rejected_by(all[4].output()), Some("queue"));
    assert_eq!((batcher.stats().waiting, batcher.stats().rejected), (3, 1));
    all[1].cancel();
    all.extend(calls(&batcher, [5]));
    assert_eq!(rejected_by(all[5].output()), None, "a place is free again");
}

#[tokio::test(start_paused = true)]
async fn a_lonely_item_takes_no_time() {
    let batcher: Batcher<u64, u64, &str> = Batcher::new(
        BatchConfig { window: 50 * MILLISECOND, concurrent: NonZeroU32::new(2).expect("2"), ..config(9) },
        |items: Vec<u64>| async move {
            tokio::time::sleep(3 * MILLISECOND).await;
            Ok(items.into_iter().map(Ok).collect())
        },
    )
    .expect("valid");
    let start = Instant::now();
    assert_eq!(batcher.call(1).await, Ok(1));
    assert_eq!(start.elapsed(), 3 * MILLISECOND, "the call and nothing else");
}
