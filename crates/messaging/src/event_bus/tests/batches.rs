use super::*;

#[tokio::test(start_paused = true)]
async fn a_batch_is_stored_whole_and_reported_by_type_with_a_result_for_each_event() {
    let trial = Trial::new().await;
    trial.subscribe(
        "orders",
        "orders.*",
        |id| if id == "2" { Err(Failure::transient("no")) } else { Ok(()) },
    );
    trial.subscribe("all", "**", |_| Ok(()));
    let events = [("1", "orders.placed"), ("2", "orders.paid"), ("3", "users.left"), ("4", "orders.placed")];
    let batch = events.map(|(id, of)| event(id, of));
    let published = trial.bus.publish_batch(batch.clone()).await.expect("stored");
    assert_eq!(trial.stored(0).await, batch, "the order of the batch is that of the topic");
    let of = |at: usize| (published.events[at].handlers_executed, published.events[at].failures.len());
    assert_eq!([of(0), of(1), of(2), of(3)], [(2, 0), (2, 1), (1, 0), (2, 0)]);
    let positions: Vec<_> = published.events.iter().map(|event| event.receipt.position).collect();
    assert_eq!(positions, [Some(0), Some(1), Some(2), Some(3)]);
    assert!(!published.is_success());
    let ids = |of: &str| {
        let groups = published.by_type();
        groups[of].iter().map(|event| event.event.id().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(published.by_type().len(), 3);
    assert_eq!((ids("orders.placed"), ids("users.left")), (vec!["1".into(), "4".into()], vec!["3".into()]));
    let by_handler = |own: &str| {
        let called = trial.diary.read().into_iter().filter(|line| line.starts_with(own));
        called.collect::<Vec<_>>()
    };
    assert_eq!(by_handler("all"), ["all 1", "all 2", "all 3", "all 4"]);
    assert_eq!(by_handler("orders"), ["orders 1", "orders 2", "orders 4"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_which_one_event_can_not_be_stored_leaves_nothing() {
    let spec = TopicSpec { record_bytes_max: ByteSize::from_bytes(1000), ..TopicSpec::default() };
    let trial = Trial::on(spec, EventBusConfig::default()).await;
    trial.subscribe("all", "**", |_| Ok(()));
    let large = event("2", "orders.placed").with_extension("note", "x".repeat(2000)).expect("text");
    let refused = trial.bus.publish_batch([event("1", "orders.placed"), large]).await;
    assert!(matches!(refused, Err(PublishError::Store(_))), "{refused:?}");
    assert_eq!((trial.stored(0).await, trial.diary.read()), (vec![], vec![]));
    assert_eq!(trial.bus.stats().not_published, 2);
}

#[tokio::test(start_paused = true)]
async fn batches_are_bounded_and_an_empty_one_does_nothing() {
    let config = EventBusConfig { batch_max: 2.try_into().expect("positive"), ..Default::default() };
    let trial = Trial::with(config).await;
    let endless = std::iter::repeat_with(|| event("1", "orders.placed"));
    let refused = trial.bus.publish_batch(endless).await;
    assert_eq!(refused, Err(PublishError::TooMany { bound: "batch_max", is: 3, limit: 2 }));
    assert_eq!(trial.bus.publish_batch([]).await, Ok(PublishedBatch::default()));
    assert_eq!(trial.stored(0).await, []);
}
