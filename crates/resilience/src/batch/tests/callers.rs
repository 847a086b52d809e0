//! Callers that leave, and callers on many threads.

use super::*;

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
