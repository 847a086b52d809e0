use tokio::time::{Instant, sleep};

use super::*;

/// Handlers that take `takes`, stopped after a second.
async fn check(takes: Duration) -> (Drained, Duration, Stats, Depth) {
    let trial = Trial::new(QueueSpec { max_deliveries: number(1), ..QueueSpec::default() }).await;
    trial.send(["1", "2", "3", "4", "5"]).await;
    let config = ConsumerConfig { concurrent: number(2), prefetch: number(4), ..ConsumerConfig::default() };
    let consumer = trial.consumer(config);
    let stats = consumer.stats();
    let handler = handle(move |_: Envelope, _: Context| async move {
        sleep(takes).await;
        Ok(Commit::default())
    });
    let began = Instant::now();
    let drained = consumer.run(handler, sleep(SECOND)).await.expect("drained");
    let dead = trial.dead().await;
    assert_eq!(dead, [], "nothing was counted that was not done");
    (drained, began.elapsed() - SECOND, stats.read(), trial.depth().await)
}

#[tokio::test(start_paused = true)]
async fn handlers_end_and_what_waits_is_given_back() {
    let (drained, took, stats, depth) = check(10 * SECOND).await;
    assert_eq!(drained, Drained { in_time: true, left: 0 });
    assert_eq!(took.as_secs(), 9);
    assert_eq!((stats.acknowledged, stats.released), (2, 2));
    assert_eq!((depth.ready, depth.in_flight), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn handlers_that_do_not_end_are_dropped_and_their_messages_given_back() {
    let (drained, took, stats, depth) = check(2 * MINUTE).await;
    assert_eq!(drained, Drained { in_time: false, left: 0 });
    assert_eq!(took.as_secs(), 30);
    assert_eq!((stats.acknowledged, stats.released), (0, 4));
    assert_eq!((depth.ready, depth.in_flight), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn handlers_hear_that_they_should_end() {
    let trial = Trial::new(QueueSpec::default()).await;
    trial.send(["1"]).await;
    let handler = handle(|_: Envelope, mut context: Context| async move {
        assert!(!context.is_draining());
        context.draining().await;
        assert!(context.is_draining());
        Ok(Commit::default())
    });
    let began = Instant::now();
    let drained = trial.consumer(ConsumerConfig::default()).run(handler, sleep(MINUTE)).await;
    assert_eq!(drained, Ok(Drained { in_time: true, left: 0 }));
    assert_eq!(began.elapsed(), MINUTE);
    assert_eq!(trial.depth().await.ready, 0);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_dropped_loses_nothing() {
    let trial = Trial::new(QueueSpec::default()).await;
    trial.send(["1", "2"]).await;
    let slow = handle(|_: Envelope, _: Context| std::future::pending());
    let running = trial.consumer(ConsumerConfig::default()).run(slow, std::future::pending());
    let _ = tokio::time::timeout(SECOND, running).await;
    assert_eq!(trial.depth().await.in_flight, 2);
    let diary = Diary::default();
    let handler = answering(&diary, |_, context| {
        assert_eq!(context.deliveries.get(), 2);
        Ok(Commit::default())
    });
    trial.consumer(ConsumerConfig::default()).run(handler, sleep(MINUTE)).await.expect("drained");
    assert_eq!(diary.read(), ["1", "2"]);
}
