use tokio::time::sleep;

use super::*;
use crate::InboxEngine;
use crate::commit::{Kind, Together};

fn config() -> ConsumerConfig {
    ConsumerConfig { inbox: Some(InboxConfig::named(name("packing"))), ..ConsumerConfig::default() }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_sent_twice_is_handled_once() {
    let trial = Trial::new(QueueSpec::default()).await;
    trial.send(["1", "1", "2"]).await;
    let (diary, consumer) = (Diary::default(), trial.consumer(config()));
    let stats = consumer.stats();
    consumer.run(answering(&diary, |_, _| Ok(Commit::default())), sleep(MINUTE)).await.expect("drained");
    let (handled, stats) = (diary.read(), stats.read());
    assert_eq!((stats.acknowledged, stats.handled_before), (2, 1));
    // Both may be begun at once; the effect of one of them is not done.
    assert!(handled.contains(&"1".to_owned()) && handled.contains(&"2".to_owned()));
    assert_eq!(trial.depth().await.ready, 0);
}

#[tokio::test(start_paused = true)]
async fn of_two_that_are_handled_at_once_one_has_its_effect() {
    let trial = Trial::new(QueueSpec::default()).await;
    trial.engine.declare_queue(&name("parcels"), &trial.spec).await.expect("declared");
    trial.send(["1", "1"]).await;
    let consumer = trial.consumer(config());
    let stats = consumer.stats();
    let handler = handle(|order: Envelope, _: Context| async move {
        sleep(SECOND).await;
        Ok(Operation::Send { queue: name("parcels"), message: order.into() }.into())
    });
    consumer.run(handler, sleep(MINUTE)).await.expect("drained");
    assert_eq!(trial.browse("parcels").await.len(), 1);
    let stats = stats.read();
    assert_eq!((stats.calls, stats.acknowledged, stats.handled_before), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_not_marked() {
    let trial = Trial::new(QueueSpec::default()).await;
    trial.send(["1"]).await;
    let diary = Diary::default();
    let handler = answering(&diary, |_, context| match context.deliveries.get() {
        1 => Err(Failure::transient("busy")),
        _ => Ok(Commit::default()),
    });
    trial.consumer(config()).run(handler, sleep(MINUTE)).await.expect("drained");
    assert_eq!(diary.read().len(), 2);
    assert!(trial.engine.is_marked(&name("packing"), "/shop 1").await.expect("read"));
}

#[tokio::test(start_paused = true)]
async fn twice_in_one_batch_is_handled_once() {
    let trial = Trial::new(QueueSpec::default()).await;
    trial.send(["1", "1", "2", "1"]).await;
    let (diary, consumer) = (Diary::default(), trial.consumer(config()));
    let (noted, stats) = (diary.clone(), consumer.stats());
    let handler = handle_batch(move |batch: Vec<Delivery>| {
        let ids: Vec<_> = batch.iter().map(|delivery| delivery.envelope.id()).collect();
        noted.note(ids.join(" "));
        std::future::ready(Ok(Commit::default()))
    });
    consumer.run_batches(handler, sleep(MINUTE)).await.expect("drained");
    assert_eq!(diary.read(), ["1 2"]);
    assert_eq!((stats.read().acknowledged, stats.read().handled_before), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_can_not_mark_with_the_acknowledgement_is_refused() {
    let model = Model::new(&WallClock::system()).refusing(["commit"]);
    let trial = Trial::on(model, QueueSpec::default()).await;
    let together = Together::of(&[Kind::Settle, Kind::Mark], crate::commit::Places::Several);
    assert!(matches!(trial.engine.commit_support(together), crate::support::Support::Refused { .. }));
    let consumer = |config| {
        let (engine, events) = (Arc::clone(&trial.engine), trial.events.clone());
        Consumer::with_inbox(engine, &trial.queue, &trial.spec, &name("packer"), config, events)
    };
    let refused = consumer(config()).expect_err("refused");
    assert!(matches!(&refused, ConsumerError::Refused(refusal) if refusal.feature == "inbox"), "{refused}");
    consumer(ConsumerConfig::default()).expect("it is not asked for");
}
