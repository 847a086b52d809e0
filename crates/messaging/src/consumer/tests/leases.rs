use tokio::time::{Instant, sleep};

use super::*;
use crate::queue::RedeliveryConfig;

#[tokio::test(start_paused = true)]
async fn a_message_is_the_handlers_for_as_long_as_it_takes() {
    let trial = Trial::new(QueueSpec { max_deliveries: number(1), ..QueueSpec::default() }).await;
    trial.send(["1"]).await;
    let consumer = trial.consumer(ConsumerConfig::default());
    let stats = consumer.stats();
    let handler = handle(|_: Envelope, _: Context| async {
        sleep(4 * MINUTE).await;
        Ok(Commit::default())
    });
    consumer.run(handler, sleep(5 * MINUTE)).await.expect("drained");
    let stats = stats.read();
    // 30 s at a time, extended when half of it is over.
    assert_eq!((stats.acknowledged, stats.extended, stats.lost), (1, 15, 0));
    assert_eq!(trial.dead().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_is_dropped_and_its_message_has_failed() {
    let trial = Trial::new(QueueSpec { max_deliveries: number(2), ..QueueSpec::default() }).await;
    trial.send(["1"]).await;
    let config = ConsumerConfig { handling_max: 2 * MINUTE, ..ConsumerConfig::default() };
    let (diary, began) = (Diary::default(), Instant::now());
    let noted = diary.clone();
    let handler = handle(move |_: Envelope, context: Context| {
        let diary = noted.clone();
        async move {
            assert_eq!(context.remaining(), Some(2 * MINUTE));
            let _dropped = Noting(diary, began);
            std::future::pending().await
        }
    });
    trial.consumer(config).run(handler, sleep(60 * MINUTE)).await.expect("drained");
    // The second one after 1 s to 1.3 s.
    let seconds = diary.read();
    assert!(["120 241", "120 242"].contains(&seconds.join(" ").as_str()), "{seconds:?}");
    let reason = "the handler took longer than its time".to_owned();
    assert_eq!(trial.dead().await, [("1".to_owned(), "max_deliveries", reason)]);
}

/// Notes when it is dropped.
struct Noting(Diary, Instant);

impl Drop for Noting {
    fn drop(&mut self) {
        self.0.note(self.1.elapsed().as_secs().to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_extended_the_handler_has_the_time_of_the_lease() {
    let model = Model::new(&WallClock::system()).refusing(["extend"]);
    let trial = Trial::on(model, QueueSpec { max_deliveries: number(1), ..QueueSpec::default() }).await;
    trial.send(["1"]).await;
    let (diary, began) = (Diary::default(), Instant::now());
    let noted = diary.clone();
    let handler = handle(move |_: Envelope, _: Context| {
        let diary = noted.clone();
        async move {
            let _dropped = Noting(diary, began);
            std::future::pending().await
        }
    });
    let consumer = trial.consumer(ConsumerConfig::default());
    let stats = consumer.stats();
    consumer.run(handler, sleep(MINUTE)).await.expect("drained");
    assert_eq!(diary.read(), ["27"]);
    assert_eq!((stats.read().lost, stats.read().dead_lettered), (0, [1, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn a_handler_whose_message_is_somebody_elses_is_dropped_and_nothing_it_asks_for_is_done() {
    let trial = Trial::new(QueueSpec::default()).await;
    trial.send(["1"]).await;
    let consumer = trial.consumer(ConsumerConfig::default());
    let (stats, diary) = (consumer.stats(), Diary::default());
    let noted = diary.clone();
    let handler = handle(move |_: Envelope, context: Context| {
        let diary = noted.clone();
        async move {
            let _dropped = (context.deliveries.get() == 1).then(|| Noting(diary, Instant::now()));
            sleep(if context.deliveries.get() == 1 { 4 * MINUTE } else { SECOND }).await;
            Ok(Commit::default())
        }
    });
    let steal = async {
        sleep(SECOND).await;
        // The engine forgets who has it, as after an operator's `DELETE`.
        trial.engine.delete_queue(&trial.queue).await.expect("deleted");
        trial.engine.declare_queue(&trial.queue, &trial.spec).await.expect("declared");
        trial.send(["2"]).await;
        sleep(2 * MINUTE).await;
    };
    consumer.run(handler, steal).await.expect("drained");
    // When it should have been extended.
    assert_eq!(diary.read()[0], "15");
    assert_eq!(stats.read().lost, 1);
    assert_eq!(trial.told("message_lost").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn it_holds_no_more_than_its_credit_and_gives_back_what_waits_too_long() {
    let trial = Trial::new(QueueSpec { max_deliveries: number(1), ..QueueSpec::default() }).await;
    let ids: Vec<_> = (0..20).map(|id| id.to_string()).collect();
    trial.send(ids.iter().map(String::as_str)).await;
    let config = ConsumerConfig { concurrent: number(1), prefetch: number(5), ..ConsumerConfig::default() };
    let consumer = trial.consumer(config);
    let stats = consumer.stats();
    let handler = handle(|_: Envelope, _: Context| async {
        sleep(20 * SECOND).await;
        Ok(Commit::default())
    });
    let watch = async {
        for _ in 0..300 {
            sleep(SECOND).await;
            assert!(trial.depth().await.in_flight <= 5);
        }
    };
    consumer.run(handler, watch).await.expect("drained");
    let stats = stats.read();
    assert!(stats.released >= 4, "{stats:?}");
    assert_eq!((stats.lost, stats.unsettled, stats.dead_lettered), (0, 0, [0; 3]));
    assert!(stats.acknowledged >= 14, "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn messages_of_one_group_are_handled_one_after_the_other_also_where_the_queue_has_no_groups() {
    let trial = Trial::new(QueueSpec::default()).await;
    trial.send_groups([(1, 1), (1, 2), (2, 1), (1, 3), (2, 2)]).await;
    let diary = Diary::default();
    let noted = diary.clone();
    let handler = handle(move |order: Envelope, _: Context| {
        let diary = noted.clone();
        async move {
            diary.note(format!("begin {}", order.id()));
            sleep(SECOND).await;
            diary.note(format!("end {}", order.id()));
            Ok(Commit::default())
        }
    });
    trial.consumer(ConsumerConfig::default()).run(handler, sleep(MINUTE)).await.expect("drained");
    for group in ["1-", "2-"] {
        let own: Vec<_> = diary.read().into_iter().filter(|note| note.contains(group)).collect();
        let expected = (1..=own.len() / 2)
            .flat_map(|number| [format!("begin {group}{number}"), format!("end {group}{number}")]);
        assert_eq!(own, expected.collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn those_behind_one_that_was_not_done_are_given_back() {
    let redelivery = RedeliveryConfig { base: 10 * SECOND, ..RedeliveryConfig::default() };
    let trial = Trial::new(QueueSpec { redelivery, ..QueueSpec::default() }).await;
    trial.send_groups([(1, 1), (1, 2), (1, 3)]).await;
    let (diary, consumer) = (Diary::default(), trial.consumer(ConsumerConfig::default()));
    let stats = consumer.stats();
    let handler = answering(&diary, |id, context| match (id, context.deliveries.get()) {
        ("1-1", 1) => Err(Failure::transient("busy")),
        _ => Ok(Commit::default()),
    });
    consumer.run(handler, sleep(MINUTE)).await.expect("drained");
    // Only a queue with groups holds them back until the first is done.
    assert_eq!(diary.read(), ["1-1", "1-2", "1-3", "1-1"]);
    assert_eq!(stats.read().released, 2);
}

#[tokio::test(start_paused = true)]
async fn a_shorter_time_that_the_queue_is_declared_with_is_for_consumers_to_come() {
    let trial = Trial::new(QueueSpec { max_deliveries: number(1), ..QueueSpec::default() }).await;
    let consumer = trial.consumer(ConsumerConfig::default());
    let stats = consumer.stats();
    let handler = handle(|_: Envelope, _: Context| async {
        sleep(MINUTE).await;
        Ok(Commit::default())
    });
    let redeclared = async {
        sleep(SECOND).await;
        let spec = QueueSpec { visibility_timeout: 5 * SECOND, ..trial.spec.clone() };
        trial.engine.declare_queue(&trial.queue, &spec).await.expect("declared");
        trial.send(["1"]).await;
        sleep(2 * MINUTE).await;
    };
    consumer.run(handler, redeclared).await.expect("drained");
    assert_eq!((stats.read().acknowledged, stats.read().lost), (1, 0));
    assert_eq!(trial.dead().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_time_of_its_own_is_asked_for_where_there_is_one() {
    let trial = Trial::new(QueueSpec::default()).await;
    trial.send(["1"]).await;
    let config = ConsumerConfig { visibility_timeout: Some(10 * MINUTE), ..ConsumerConfig::default() };
    let handler = handle(|_: Envelope, _: Context| std::future::pending());
    let running = trial.consumer(config.clone()).run(handler, std::future::pending());
    let _ = tokio::time::timeout(SECOND, running).await;
    let left = trial.browse("orders").await[0].leased_until.expect("held").as_unix_nanos();
    let left = left - trial.engine.now().as_unix_nanos();
    assert!(Duration::from_nanos(left) > 9 * MINUTE);

    let model = Model::new(&WallClock::system()).refusing(["lease_time"]);
    let trial = Trial::on(model, QueueSpec::default()).await;
    let engine = Arc::clone(&trial.engine);
    let refused =
        Consumer::new(engine, &trial.queue, &trial.spec, &name("packer"), config, trial.events.clone());
    assert!(matches!(refused, Err(ConsumerError::Invalid(invalid)) if invalid.field == "visibility_timeout"));
}
