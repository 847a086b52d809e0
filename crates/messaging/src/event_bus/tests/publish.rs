use super::*;
use crate::EngineError;
use crate::commit::{CommitError, Refused};

#[tokio::test(start_paused = true)]
async fn an_event_is_stored_before_any_handler_is_called() {
    let trial = Trial::new().await;
    let (engine, topic) = (Arc::clone(&trial.engine), trial.topic.clone());
    let stored_then = move |event: Envelope, context: EventContext| {
        let (engine, topic) = (Arc::clone(&engine), topic.clone());
        async move {
            let end = engine.find(&topic, 0, crate::log::StartAt::End).await?;
            assert_eq!((event.id(), context.receipt.position, end), ("1", Some(0), 1));
            assert_eq!(context.receipt.durability, Durability::UNSYNCED);
            Ok(())
        }
    };
    trial.bus.subscribe(&name("reader"), "**".parse().expect("a pattern"), stored_then).expect("subscribed");
    let published = trial.bus.publish(event("1", "orders.placed")).await.expect("stored");
    assert_eq!((published.handlers_executed, published.failures), (1, vec![]));
    assert_eq!(trial.stored(0).await, [event("1", "orders.placed")]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_stored_is_told_to_nobody() {
    let trial = Trial::new().await;
    trial.subscribe("all", "**", |_| Ok(()));
    trial.engine.delete_topic(&trial.topic).await.expect("deleted");
    let refused = trial.bus.publish(event("1", "orders.placed")).await.expect_err("there is no topic");
    let PublishError::Store(CommitError::Refused { cause, .. }) = refused else { panic!("{refused:?}") };
    assert!(matches!(cause, Refused::Engine(EngineError::NotFound { .. })), "{cause:?}");
    assert_eq!(trial.diary.read(), [""; 0]);
    assert_eq!((trial.bus.stats().published, trial.bus.stats().not_published), (0, 1));
    let told = trial.told("event_not_published");
    assert_eq!(told[0]["reason"], "operation 0: there is no `events`");
}

#[tokio::test(start_paused = true)]
async fn middlewares_change_events_in_their_order_or_refuse_them() {
    let trial = Trial::new().await;
    trial.subscribe("all", "**", |_| Ok(()));
    for own in ["first", "second"] {
        let middleware = move |event: Envelope| async move {
            if event.subject() == Some(own) {
                return Err(Failure::permanent("no such subject"));
            }
            let path = event.extension("path").map(|path| path.text().into_owned()).unwrap_or_default();
            Ok(event.with_extension("path", format!("{path}/{own}"))?)
        };
        trial.bus.add_middleware(&name(own), middleware).expect("added");
    }
    let taken = trial.bus.add_middleware(&name("first"), |event| async { Ok(event) });
    assert_eq!(taken, Err(SubscribeError::Taken { name: name("first") }));
    let published = trial.bus.publish(event("1", "orders.placed")).await.expect("stored");
    let path = |event: &Envelope| event.extension("path").map(ToString::to_string);
    assert_eq!(path(&published.event).as_deref(), Some("/first/second"));
    assert_eq!(trial.stored(0).await, [published.event]);

    let bad = event("3", "orders.placed").with_subject("second").expect("text");
    let refused = trial.bus.publish_batch([event("2", "orders.placed"), bad]).await.expect_err("refused");
    let failure = Failure::permanent("no such subject");
    assert_eq!(refused, PublishError::Middleware { middleware: name("second"), event: 1, failure });
    assert_eq!((trial.stored(0).await.len(), trial.diary.read()), (1, vec!["all 1".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn the_flow_of_an_event_goes_on_in_what_it_causes() {
    let trial = Trial::new().await;
    let (bus, diary) = (trial.bus.clone(), trial.diary.clone());
    let pack = move |_: Envelope, context: EventContext| {
        let bus = bus.clone();
        diary.note(context.correlation_id());
        async move {
            bus.publish(context.caused(event("2", "parcel.packed"))).await?;
            Ok(())
        }
    };
    trial.bus.subscribe(&name("packer"), "orders.*".parse().expect("a pattern"), pack).expect("subscribed");
    let placed = event("1", "orders.placed").with_correlation_id("flow-9").expect("text");
    let published = trial.bus.publish(placed).await.expect("stored");
    assert!(published.is_success(), "{published:?}");
    let stored = trial.stored(0).await;
    let of =
        |event: &Envelope| (event.causation_id().map(String::from), event.correlation_id().map(String::from));
    assert_eq!(of(&stored[0]), (None, Some("flow-9".to_owned())));
    assert_eq!(of(&stored[1]), (Some("1".to_owned()), Some("flow-9".to_owned())));
    assert_eq!(trial.diary.read(), ["flow-9"]);
}

#[tokio::test(start_paused = true)]
async fn what_happened_to_one_entity_is_in_one_partition() {
    for partition_by in [PartitionBy::Subject, PartitionBy::Key] {
        let spec = TopicSpec { partitions: 8.try_into().expect("positive"), ..TopicSpec::default() };
        let config = EventBusConfig { partition_by, ..EventBusConfig::default() };
        let trial = Trial::on(spec, config).await;
        let placed = |id: &str| event(id, "orders.placed").with_subject("order-1").expect("text");
        let own = placed("own").with_partition_key("customer-1").expect("text");
        let published = trial.bus.publish_batch([placed("1"), own, placed("2")]).await.expect("stored");
        let key = |at: usize| published.events[at].event.partition_key().map(String::from);
        let subject = (partition_by == PartitionBy::Subject).then(|| "order-1".to_owned());
        assert_eq!((key(0), key(2)), (subject.clone(), subject));
        assert_eq!(key(1).as_deref(), Some("customer-1"), "a key of its own stays");
    }
}

#[tokio::test(start_paused = true)]
async fn every_publication_is_in_the_audit_log() {
    let trial = Trial::new().await;
    trial.subscribe("good", "orders.*", |_| Ok(()));
    trial.subscribe("bad", "orders.placed", |_| Err(Failure::transient("no paper")));
    let placed = event("1", "orders.placed").with_user_id("ann").expect("text");
    trial.bus.publish(placed).await.expect("stored");
    let told: Vec<_> = trial.told.try_iter().collect();
    let fields = |event: &str| {
        let told = told.iter().find(|told| told.name == event).expect(event);
        told.fields.iter().cloned().collect::<BTreeMap<_, _>>()
    };
    let published = fields("event_published");
    for (field, value) in [
        ("topic", "events"),
        ("id", "1"),
        ("source", "/shop"),
        ("type", "orders.placed"),
        ("user_id", "ann"),
        ("partition", "0"),
        ("position", "0"),
        ("handlers_executed", "2"),
        ("failures", "1"),
    ] {
        assert_eq!(published[field], value, "{field}");
    }
    let failed = fields("event_handler_failed");
    assert_eq!((&*failed["handler"], &*failed["reason"]), ("bad", "no paper"));
}

#[tokio::test(start_paused = true)]
async fn publications_under_way_are_bounded_even_when_handlers_publish() {
    let config =
        EventBusConfig { in_flight_max: 3.try_into().expect("positive"), ..EventBusConfig::default() };
    let trial = Trial::with(config).await;
    let (bus, diary) = (trial.bus.clone(), trial.diary.clone());
    let echo = move |event: Envelope, _: EventContext| {
        let (bus, diary) = (bus.clone(), diary.clone());
        async move {
            if let Err(error) = bus.publish(event).await {
                diary.note(error.to_string());
            }
            Ok(())
        }
    };
    trial.bus.subscribe(&name("echo"), "**".parse().expect("a pattern"), echo).expect("subscribed");
    trial.bus.publish(event("1", "orders.placed")).await.expect("stored");
    assert_eq!(trial.diary.read(), ["too much is under way: `in_flight_max` is 3"]);
    assert_eq!((trial.stored(0).await.len(), trial.bus.stats().in_flight), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_takes_nothing_back() {
    let trial = Trial::new().await;
    let diary = trial.diary.clone();
    let slow = move |event: Envelope, _: EventContext| {
        let diary = diary.clone();
        async move {
            sleep(10 * SECOND).await;
            diary.note(event.id());
            Ok(())
        }
    };
    trial.bus.subscribe(&name("slow"), "**".parse().expect("a pattern"), slow).expect("subscribed");
    let left = tokio::time::timeout(SECOND, trial.bus.publish(event("1", "orders.placed"))).await;
    assert!(left.is_err());
    assert_eq!(trial.diary.read(), [""; 0]);
    sleep(10 * SECOND).await;
    assert_eq!(trial.diary.read(), ["1"]);
}

#[test]
fn what_can_not_work_is_refused() {
    for field in ["handler_timeout", "store_timeout"] {
        let config: EventBusConfig = toml::from_str(&format!("{field} = \"0s\"")).expect(field);
        assert_eq!(config.validate().expect_err(field).field, field);
    }
    assert_eq!(toml::from_str::<EventBusConfig>("").expect("valid"), EventBusConfig::default());
    for text in ["concurrent = 0", "in_flight_max = 0", "partition_by = \"id\"", "handlers = 1"] {
        toml::from_str::<EventBusConfig>(text).expect_err(text);
    }
}
