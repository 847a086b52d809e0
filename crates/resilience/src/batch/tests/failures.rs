//! What each caller is told when a batch or an item of it fails.

use super::*;

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
