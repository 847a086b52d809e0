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

#[tokio::test(start_paused = true)]
async fn each_item_has_its_own_error() {
    let service = Service::default();
    let batcher = service.batcher(config(10), 1);
    let mut all = calls(&batcher, [1, 2, 1001, 3]);
    service.steps(0).finish();
    settle(&mut all);
    service.steps(1).finish();
    settle(&mut all);
    let bad = Some(Err(BatchError::Item("bad item")));
    assert_eq!(outputs(&all)[1..], [Some(Ok(20)), bad, Some(Ok(30))]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_batch_fails_all_its_items_and_the_next_one_goes() {
    let service = Service::default();
    let batcher = service.batcher(config(2), 1);
    let mut all = calls(&batcher, [1, 2, 666, 3]);
    for batch in 0..3 {
        service.steps(batch).finish();
        settle(&mut all);
    }
    let failed = Some(Err(BatchError::Batch("poison")));
    assert_eq!(outputs(&all), [Some(Ok(10)), failed.clone(), failed, Some(Ok(30))]);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_number_of_results_is_an_error_for_all() {
    for results in [0_usize, 1, 3] {
        let batcher: Batcher<u64, u64, &str> = Batcher::new(config(2), move |items: Vec<u64>| async move {
            tokio::task::yield_now().await;
            Ok(if items.len() == 1 { vec![Ok(1)] } else { vec![Ok(7); results] })
        })
        .expect("valid");
        let (_, second, third) = tokio::join!(batcher.call(1), batcher.call(2), batcher.call(3));
        let wrong = Err(BatchError::Count { items: 2, results });
        assert_eq!((second, third), (wrong.clone(), wrong));
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_told_to_all_its_items_and_frees_the_place() {
    let service = Service::default();
    let batcher = service.batcher(config(2), 1);
    let mut all = calls(&batcher, [1, 2, 667, 3]);
    for batch in 0..3 {
        service.steps(batch).finish();
        settle(&mut all);
    }
    let panicked = Some(Err(BatchError::Panicked));
    assert_eq!(outputs(&all), [Some(Ok(10)), panicked.clone(), panicked, Some(Ok(30))]);
    assert_eq!(batcher.stats().running, 0);

    let at_once: Batcher<u64, u64, &str> =
        Batcher::new(config(2), |_| -> std::future::Ready<_> { panic!("before its future") }).expect("valid");
    assert_eq!(at_once.call(1).await, Err(BatchError::Panicked));
    assert_eq!(at_once.stats().running, 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_cancelled_at_any_poll_leaves_its_batch_to_the_others() {
    for polls in 0..6 {
        let service = Service::default();
        let batcher = service.batcher(config(3), 6);
        let mut all = calls(&batcher, [0]);
        all.extend(calls(&batcher, 1..=3));
        service.steps(0).finish();
        // The callers of the second batch are woken here, and none of them has polled it yet.
        all[0].poll();
        assert_eq!(batcher.stats().batches, 2);
        for _ in 0..polls {
            all[1].poll();
            if !service.batches()[1..].is_empty() {
                service.steps(1).advance();
            }
        }
        all[1].cancel();
        settle(&mut all);
        service.steps(1).finish();
        settle(&mut all);
        assert_eq!(outputs(&all)[2..], [Some(Ok(20)), Some(Ok(30))], "cancelled after {polls} polls");
        assert_eq!(service.batches(), [vec![0], vec![1, 2, 3]], "a sent item stays in its batch");
        assert_eq!((batcher.stats().running, batcher.stats().waiting), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_whose_caller_left_before_is_not_sent() {
    let service = Service::default();
    let batcher = service.batcher(config(3), 1);
    let mut all = calls(&batcher, 0..=3);
    all[2].cancel();
    assert_eq!(batcher.stats().waiting, 2);
    service.steps(0).finish();
    settle(&mut all);
    assert_eq!(service.batches(), [vec![0], vec![1, 3]]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_nobody_waits_for_is_dropped_and_the_next_one_goes() {
    let service = Service::default();
    let batcher = service.batcher(config(3), 1);
    let mut all = calls(&batcher, 0..=1);
    all[0].cancel();
    assert!(service.running.lock().expect("no panic").is_empty(), "its future is gone");
    settle(&mut all);
    service.steps(1).finish();
    settle(&mut all);
    assert_eq!(outputs(&all), [None, Some(Ok(10))]);

    // The same, for a batch that was sent and never polled.
    let mut all = calls(&batcher, 2..=4);
    service.steps(2).finish();
    all[0].poll();
    all[1].cancel();
    all[2].cancel();
    assert_eq!(batcher.stats().running, 0);
    let mut next = calls(&batcher, [5]);
    service.steps(3).finish();
    settle(&mut next);
    assert_eq!(outputs(&next), [Some(Ok(50))]);
}

#[tokio::test(start_paused = true)]
async fn callers_go_on_when_all_other_handles_are_gone() {
    let service = Service::default();
    let batcher = service.batcher(config(3), 1);
    let mut all = calls(&batcher, 0..=2);
    drop(batcher);
    service.steps(0).finish();
    settle(&mut all);
    service.steps(1).finish();
    settle(&mut all);
    assert_eq!(outputs(&all), [Some(Ok(0)), Some(Ok(10)), Some(Ok(20))]);
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
async fn bisection_isolates_the_item_that_fails_its_batch() {
    let service = Service::default();
    let batcher = service.batcher(BatchConfig { bisect: true, ..config(8) }, 1);
    let mut all = calls(&batcher, [0, 1, 2, 3, 666, 5, 6, 7, 8]);
    for batch in 0..100 {
        if batch == service.batches().len() {
            break;
        }
        service.steps(batch).finish();
        settle(&mut all);
    }
    assert_eq!(
        service.batches(),
        [
            vec![0],
            vec![1, 2, 3, 666, 5, 6, 7, 8],
            vec![1, 2, 3, 666],
            vec![1, 2],
            vec![3, 666],
            vec![3],
            vec![666],
            vec![5, 6, 7, 8],
        ]
    );
    for (call, item) in all.iter().zip([0, 1, 2, 3, 666, 5, 6, 7, 8]) {
        let expected = if item == 666 { Err(BatchError::Batch("poison")) } else { Ok(item * 10) };
        assert_eq!(call.output(), Some(&expected));
    }
    assert_eq!((batcher.stats().bisections, batcher.stats().batches, batcher.stats().items), (3, 2, 9));
}

/// Sends one item alone and then eight together, with a function that always fails, and counts its calls.
async fn calls_of_a_failing_function(bisect: bool, class: Class) -> usize {
    let count = Arc::new(Mutex::new(0));
    let function = {
        let count = Arc::clone(&count);
        move |_: Vec<u64>| {
            *count.lock().expect("no panic") += 1;
            async {
                tokio::task::yield_now().await;
                Err::<Vec<Result<u64, &str>>, _>("down")
            }
        }
    };
    let config = BatchConfig { bisect, ..config(8) };
    let batcher = Batcher::with_classes(config, function, move |_| class).expect("valid");
    let mut calls: Vec<Call<Outcome>> = (0..9).map(|item| call(&batcher, item)).collect();
    for _ in 0..100 {
        settle(&mut calls);
        tokio::task::yield_now().await;
    }
    assert!(calls.iter().all(|call| call.output() == Some(&Err(BatchError::Batch("down")))));
    let count = *count.lock().expect("no panic");
    count - 1
}

#[tokio::test(start_paused = true)]
async fn only_what_may_be_an_items_fault_is_bisected_and_never_into_more_than_2n_minus_1_calls() {
    assert_eq!(calls_of_a_failing_function(true, Class::Permanent).await, 15);
    assert_eq!(calls_of_a_failing_function(true, Class::Unjudged).await, 15);
    for class in [Class::Transient, Class::Unavailable, Class::Throttled] {
        assert_eq!(calls_of_a_failing_function(true, class).await, 1);
    }
    assert_eq!(calls_of_a_failing_function(false, Class::Permanent).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_half_that_panics_takes_nothing_from_the_half_that_was_done() {
    let service = Service::default();
    let batcher = service.batcher(BatchConfig { bisect: true, ..config(4) }, 1);
    let mut all = calls(&batcher, [0, 1, 2, 666, 667]);
    for batch in 0..100 {
        if batch == service.batches().len() {
            break;
        }
        service.steps(batch).finish();
        settle(&mut all);
    }
    assert_eq!(
        service.batches()[1..],
        [vec![1, 2, 666, 667], vec![1, 2], vec![666, 667], vec![666], vec![667]]
    );
    let (poison, panicked) = (Some(Err(BatchError::Batch("poison"))), Some(Err(BatchError::Panicked)));
    assert_eq!(outputs(&all)[1..], [Some(Ok(10)), Some(Ok(20)), poison, panicked]);
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

#[test]
fn callers_on_threads_of_their_own_share_batches() {
    let options = BatchConfig { wait: Duration::from_secs(3600), ..config(3) };
    let batcher: Batcher<u64, u64, &str> = Batcher::new(options, |items: Vec<u64>| async move {
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        Ok(items.into_iter().map(Ok).collect())
    })
    .expect("valid");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
                runtime.block_on(async {
                    for item in 0..500 {
                        assert_eq!(batcher.call(item).await, Ok(item));
                    }
                });
            });
        }
    });
    let stats = batcher.stats();
    assert_eq!((stats.running, stats.waiting, stats.items), (0, 0, 2000));
}

#[test]
fn contradictory_settings_are_refused_by_name() {
    let two = NonZeroU32::new(2).expect("2");
    for (wrong, field) in [
        (config(1), "size_max"),
        (BatchConfig { window: MILLISECOND, ..config(2) }, "window"),
        (BatchConfig { queue: Some(NonZeroU32::MIN), ..config(2) }, "queue"),
        (BatchConfig { wait: MILLISECOND, window: MILLISECOND, concurrent: two, ..config(2) }, "wait"),
        (BatchConfig { wait: Duration::ZERO, ..config(2) }, "wait"),
    ] {
        assert_eq!(wrong.validate().expect_err(field).field, field);
    }
    assert_eq!(config(2).validate(), Ok(()));
}

#[test]
fn options_are_read_from_text() {
    let read: BatchConfig =
        serde_json::from_str(r#"{ "size_max": 5, "concurrent": 2, "window": "2ms", "bisect": true }"#)
            .expect("good");
    let concurrent = NonZeroU32::new(2).expect("2");
    assert_eq!(read, BatchConfig { concurrent, window: 2 * MILLISECOND, bisect: true, ..config(5) });
    assert_eq!(read.capacity(), 50);
    assert!(serde_json::from_str::<BatchConfig>(r#"{ "size_max": 5, "size": 5 }"#).is_err());
}
