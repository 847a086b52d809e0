use intertie_core::failure::Class;
use intertie_core::telemetry::{Snapshot, Source, Value};
use intertie_resilience::{PipelineConfig, RetryConfig};
use tokio::time::{Instant, sleep};

use super::*;
use crate::queue::{Cause, DeadLetter, Origin};

/// Runs `answer` over one message for an hour: how often it was asked, and what became of the message.
async fn check(
    answer: impl Fn(&str, &Context) -> Result<Commit, Failure> + Clone + Send + 'static,
    asked: usize,
    dead: Option<(&str, &str)>,
) -> Stats {
    let trial = Trial::new(QueueSpec { max_deliveries: number(3), ..QueueSpec::default() }).await;
    trial.send(["1"]).await;
    let (diary, consumer) = (Diary::default(), trial.consumer(ConsumerConfig::default()));
    let stats = consumer.stats();
    let drained = consumer.run(answering(&diary, answer), sleep(60 * MINUTE)).await.expect("drained");
    assert_eq!(drained, Drained { in_time: true, left: 0 });
    assert_eq!(diary.read().len(), asked);
    let expected = dead.map(|(cause, reason)| ("1".to_owned(), cause, reason.to_owned()));
    assert_eq!(trial.dead().await, Vec::from_iter(expected));
    assert_eq!(trial.depth().await, Depth { bytes: Some(0), consumers: Some(0), ..Depth::default() });
    stats.read()
}

#[tokio::test(start_paused = true)]
async fn what_succeeds_is_gone() {
    let stats = check(|_, _| Ok(Commit::default()), 1, None).await;
    assert_eq!((stats.received, stats.acknowledged, stats.calls, stats.held), (1, 1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_fails_comes_again_until_it_is_dead_with_its_last_reason() {
    let answer = |_: &str, context: &Context| {
        Err(Failure::transient(format!("{} {}", context.deliveries, context.is_last_delivery)))
    };
    let stats = check(answer, 3, Some(("max_deliveries", "3 true"))).await;
    assert_eq!((stats.received, stats.retried, stats.dead_lettered), (3, 2, [1, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn what_never_will_be_done_dies_at_once() {
    let stats = check(|_, _| Err(Failure::permanent("no stock")), 1, Some(("rejected", "no stock"))).await;
    assert_eq!(stats.dead_lettered, [0, 1, 0]);
    let stats = check(|_, _| Err(Failure::undecodable("no id")), 1, Some(("undecodable", "no id"))).await;
    assert_eq!(stats.dead_lettered, [0, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn any_error_is_transient_and_told_with_its_sources() {
    let answer = |_: &str, _: &Context| {
        let error = std::io::Error::other("x".parse::<u32>().expect_err("no number"));
        Err(error)?
    };
    check(answer, 3, Some(("max_deliveries", "invalid digit found in string"))).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure() {
    let stats =
        check(|_, _| panic!("no id"), 3, Some(("max_deliveries", "the handler panicked: no id"))).await;
    assert_eq!((stats.calls, stats.retried), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_the_end_where_that_is_said() {
    let trial = Trial::new(QueueSpec::default()).await;
    trial.send(["1"]).await;
    let config = ConsumerConfig { panics: Panics::DeadLetter, ..ConsumerConfig::default() };
    let handler = answering(&Diary::default(), |_, _| panic!("{}", 1));
    trial.consumer(config).run(handler, sleep(MINUTE)).await.expect("drained");
    assert_eq!(trial.dead().await, [("1".to_owned(), "rejected", "the handler panicked: 1".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_tried_is_not_counted_and_asked_for_ever_more_seldom() {
    let trial = Trial::new(QueueSpec { max_deliveries: number(1), ..QueueSpec::default() }).await;
    trial.send(["1"]).await;
    let (diary, consumer) = (Diary::default(), trial.consumer(ConsumerConfig::default()));
    let stats = consumer.stats();
    let handler = answering(&diary, |_, context| {
        assert_eq!(context.deliveries.get(), 1);
        Err(Failure::not_tried("closed"))
    });
    consumer.run(handler, sleep(10 * MINUTE)).await.expect("drained");
    // From 100 ms to 10 s, and up to 30 % more.
    let asked = diary.read().len();
    assert!((50..75).contains(&asked), "{asked}");
    assert_eq!(stats.read().released, asked as u64);
    assert_eq!(trial.depth().await.ready, 1);
    let paused = trial.told("consumer_paused");
    assert_eq!(paused[0]["by"], "handler");
    assert_eq!(paused[0]["reason"], "closed");
}

#[tokio::test(start_paused = true)]
async fn a_handler_says_how_long_to_wait_and_the_queue_how_long_at_least() {
    for (hint, expected) in
        [(None, 1), (Some(SECOND / 2), 1), (Some(20 * SECOND), 20), (Some(120 * MINUTE), 3600)]
    {
        let trial = Trial::new(QueueSpec::default()).await;
        trial.send(["1"]).await;
        let (diary, began) = (Diary::default(), Instant::now());
        let noted = diary.clone();
        let handler = handle(move |_: Envelope, context: Context| {
            noted.note(began.elapsed().as_millis().to_string());
            let failure = Failure::of_class(Class::Throttled, "too many");
            let failure = hint.map_or(failure.clone(), |hint| failure.retry_after(hint));
            std::future::ready(if context.deliveries.get() == 1 {
                Err(failure)
            } else {
                Ok(Commit::default())
            })
        });
        trial.consumer(ConsumerConfig::default()).run(handler, sleep(120 * MINUTE)).await.expect("drained");
        let times: Vec<u64> = diary.read().iter().map(|time| time.parse().expect("a number")).collect();
        let waited = times[1] - times[0];
        assert!((expected * 1000..=expected * 1300 + 2).contains(&waited), "{hint:?}: {waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_handler_stops_the_consumer_for_longer_than_retry_after_max() {
    let trial = Trial::new(QueueSpec::default()).await;
    trial.send(["1"]).await;
    let config = ConsumerConfig { retry_after_max: MINUTE, ..ConsumerConfig::default() };
    let diary = Diary::default();
    let handler =
        answering(&diary, |_, _| Err(Failure::not_tried("closed").retry_after(100 * 24 * 60 * MINUTE)));
    trial.consumer(config).run(handler, sleep(5 * MINUTE - SECOND)).await.expect("drained");
    assert_eq!(diary.read().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn attempts_within_a_delivery_are_not_counted_as_deliveries() {
    let trial = Trial::new(QueueSpec { max_deliveries: number(1), ..QueueSpec::default() }).await;
    trial.send(["1"]).await;
    let pipeline = PipelineConfig { retry: Some(RetryConfig::quick()), ..PipelineConfig::default() };
    let config = ConsumerConfig { pipeline, ..ConsumerConfig::default() };
    let diary = Diary::default();
    let handler = answering(&diary, |_, context| match context.attempt {
        3 => Ok(Commit::default()),
        attempt => Err(Failure::transient(attempt.to_string())),
    });
    trial.consumer(config).run(handler, sleep(MINUTE)).await.expect("drained");
    assert_eq!((diary.read().len(), trial.dead().await.len()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn what_it_sends_is_sent_with_the_acknowledgement_or_not_at_all() {
    let trial = Trial::new(QueueSpec { max_deliveries: number(2), ..QueueSpec::default() }).await;
    let spec = QueueSpec { depth_max: Some(1), ..trial.spec.clone() };
    trial.engine.declare_queue(&name("parcels"), &spec).await.expect("declared");
    trial.send(["1", "2"]).await;
    let handler = answering(&Diary::default(), |id, _| {
        let parcel = envelope(id).into();
        Ok(Operation::Send { queue: name("parcels"), message: parcel }.into())
    });
    trial.consumer(ConsumerConfig::default()).run(handler, sleep(MINUTE)).await.expect("drained");
    let parcels = trial.browse("parcels").await;
    assert_eq!(parcels.iter().map(|parcel| id(&parcel.content)).collect::<Vec<_>>(), ["1"]);
    let dead = trial.dead().await;
    assert_eq!((dead.len(), dead[0].0.as_str(), dead[0].1), (1, "2", "max_deliveries"));
    assert!(dead[0].2.contains("the queue holds `depth_max` messages, 1"), "{dead:?}");
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_sent_is_the_end_of_its_cause() {
    let trial = Trial::new(QueueSpec::default()).await;
    trial.send(["1"]).await;
    let handler = answering(&Diary::default(), |id, _| {
        let message = Message { priority: 9, ..envelope(id).into() };
        Ok(Operation::Send { queue: name("orders"), message }.into())
    });
    trial.consumer(ConsumerConfig::default()).run(handler, sleep(MINUTE)).await.expect("drained");
    let dead = trial.dead().await;
    assert_eq!((dead.len(), dead[0].1), (1, "rejected"));
    assert!(dead[0].2.contains("`priorities` does not allow it"), "{dead:?}");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_nobody_can_read_die_as_they_came() {
    let trial = Trial::new(QueueSpec::default()).await;
    let content = Content::Undecodable {
        bytes: b"\xff{".as_slice().into(),
        headers: vec![("content-type".to_owned(), "text/plain".to_owned())],
        problem: "it is no JSON".to_owned(),
    };
    let dead_letter = Box::new(DeadLetter {
        cause: Cause::Undecodable,
        reason: None,
        origin: Origin::Queue { queue: name("elsewhere"), position: None },
        deliveries: 1,
        at: trial.engine.now(),
        redrives: 1,
    });
    let bury = Operation::Bury { queue: trial.queue.clone(), content: content.clone(), dead_letter };
    trial.engine.commit(bury.into()).await.expect("put there");
    let diary = Diary::default();
    let handler = answering(&diary, |_, _| Ok(Commit::default()));
    trial.consumer(ConsumerConfig::default()).run(handler, sleep(MINUTE)).await.expect("drained");
    assert!(diary.read().is_empty());
    let dead = trial.browse("orders.dead").await;
    assert_eq!((dead.len(), &dead[0].content), (1, &content));
    let letter = dead[0].dead_letter.as_ref().expect("it died");
    assert_eq!((letter.cause, letter.reason.as_deref()), (Cause::Undecodable, Some("it is no JSON")));
}

#[tokio::test(start_paused = true)]
async fn each_failure_is_counted_and_told_with_its_reason() {
    let trial = Trial::new(QueueSpec { max_deliveries: number(2), ..QueueSpec::default() }).await;
    trial.send(["1", "2"]).await;
    let consumer = trial.consumer(ConsumerConfig::default());
    let stats = consumer.stats();
    let handler = answering(&Diary::default(), |id, _| match id {
        "1" => Err(Failure::transient("busy")),
        _ => Ok(Commit::default()),
    });
    consumer.run(handler, sleep(MINUTE)).await.expect("drained");
    let told: Vec<_> = trial.told.try_iter().collect();
    let names: Vec<_> = told.iter().map(|event| event.name).collect();
    assert_eq!(names, ["message_retried", "message_dead_lettered", "consumer_drained"]);
    let fields: BTreeMap<_, _> = told[1].fields.iter().cloned().collect();
    for (field, value) in [
        ("queue", "orders"),
        ("consumer", "packer"),
        ("id", "1"),
        ("source", "/shop"),
        ("deliveries", "2"),
        ("cause", "max_deliveries"),
        ("reason", "busy"),
    ] {
        assert_eq!(fields[field], value, "{field}");
    }
    let mut snapshot = Snapshot::default();
    Source::read(&stats, &mut snapshot);
    let sum = |name: &str| -> u64 {
        let samples = snapshot.families().iter().filter(|family| family.name == name);
        let values = samples.flat_map(|family| &family.samples).map(|sample| match &sample.value {
            Value::Counter(count) | Value::Histogram { count, .. } => *count,
            other => panic!("{name} is {other:?}"),
        });
        values.sum()
    };
    assert_eq!((sum("consumer_received"), sum("consumer_messages")), (3, 3));
    assert_eq!((sum("consumer_dead_letters"), sum("consumer_handling_seconds")), (1, 3));
}
