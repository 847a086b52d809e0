use intertie_core::envelope::shapes::DomainEvent;
use intertie_core::failure::Class;

use super::*;

#[tokio::test(start_paused = true)]
async fn all_handlers_run_and_failures_are_listed() {
    let trial = Trial::new().await;
    trial.subscribe("fails", "orders.placed", |_| Err(Failure::transient("no paper")));
    trial.subscribe("panics", "orders.*", |_| panic!("out of ink"));
    trial.subscribe("works", "**", |_| Ok(()));
    trial.subscribe("elsewhere", "payments.*", |_| Ok(()));
    let never = |_: Envelope, _: EventContext| std::future::pending();
    trial.bus.subscribe(&name("never"), "orders.*".parse().expect("a pattern"), never).expect("subscribed");
    let published = trial.bus.publish(event("1", "orders.placed")).await.expect("stored");
    assert_eq!(published.handlers_executed, 4);
    assert!(!published.is_success());
    let mut failures: Vec<_> = published.failures.iter().collect();
    failures.sort_by_key(|failure| failure.handler.clone());
    let failures: Vec<_> =
        failures.iter().map(|failed| (failed.handler.as_str(), failed.failure.reason())).collect();
    let expected = [
        ("fails", "no paper"),
        ("never", "it took longer than `handler_timeout`"),
        ("panics", "it panicked: out of ink"),
    ];
    assert_eq!(failures, expected);
    let mut called = trial.diary.read();
    called.sort();
    assert_eq!(called, ["fails 1", "panics 1", "works 1"]);
    let stats = trial.bus.stats();
    assert_eq!((stats.handled, stats.failed, stats.published), (1, 3, 1));
}

#[tokio::test(start_paused = true)]
async fn an_event_for_nobody_here_is_stored_and_counted() {
    let trial = Trial::new().await;
    trial.subscribe("elsewhere", "payments.*", |_| Ok(()));
    let published = trial.bus.publish(event("1", "orders.placed")).await.expect("stored");
    assert_eq!((published.handlers_executed, published.is_success()), (0, true));
    assert_eq!((trial.bus.stats().without_handler, trial.stored(0).await.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn subscriptions_begin_and_end() {
    let config = EventBusConfig { subscriptions_max: 2.try_into().expect("positive"), ..Default::default() };
    let trial = Trial::with(config).await;
    trial.subscribe("a", "**", |_| Ok(()));
    let again = |own: &str| {
        let handler = |_: Envelope, _: EventContext| async { Ok(()) };
        trial.bus.subscribe(&name(own), "**".parse().expect("a pattern"), handler)
    };
    assert_eq!(again("a"), Err(SubscribeError::Taken { name: name("a") }));
    assert_eq!(again("b"), Ok(()));
    assert_eq!(again("c"), Err(SubscribeError::TooMany { bound: "subscriptions_max", limit: 2 }));
    assert!(trial.bus.unsubscribe(&name("a")) && !trial.bus.unsubscribe(&name("a")));
    let published = trial.bus.publish(event("1", "orders.placed")).await.expect("stored");
    assert_eq!((published.handlers_executed, trial.diary.read()), (1, vec![]));
    assert_eq!(again("c"), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_handler_of_a_shape_gets_what_is_of_that_shape() {
    let trial = Trial::new().await;
    let diary = trial.diary.clone();
    let connected = move |event: DomainEvent, _: EventContext| {
        diary.note(format!("{} {}", event.id, event.correlation_id));
        async { Ok(()) }
    };
    trial
        .bus
        .subscribe_as(&name("wallets"), "**".parse().expect("a pattern"), connected)
        .expect("subscribed");
    let json = r#"{"id": "7", "type": "integration.wallet.connected", "timestamp": 1755945000000,
        "source": "/wallets", "correlationId": "flow-1", "payload": {"chain": 1}, "metadata": {"version": "1"}}"#;
    let connected: DomainEvent = serde_json::from_str(json).expect("a shape");
    let published = trial.bus.publish((&connected).try_into().expect("an event")).await.expect("stored");
    assert!(published.is_success(), "{published:?}");
    assert_eq!(trial.diary.read(), ["7 flow-1"]);

    let published = trial.bus.publish(event("1", "orders.placed")).await.expect("stored");
    assert_eq!(published.failures[0].failure.class(), Class::Permanent);
}

#[tokio::test(start_paused = true)]
async fn handlers_of_one_publication_that_run_at_once_are_bounded() {
    let config = EventBusConfig { concurrent: 2.try_into().expect("positive"), ..Default::default() };
    let trial = Trial::with(config).await;
    for own in ["a", "b", "c", "d", "e"] {
        let handler = |_: Envelope, _: EventContext| async {
            sleep(SECOND).await;
            Ok(())
        };
        trial.bus.subscribe(&name(own), "**".parse().expect("a pattern"), handler).expect("subscribed");
    }
    let began = tokio::time::Instant::now();
    let published = trial.bus.publish(event("1", "orders.placed")).await.expect("stored");
    assert_eq!((published.handlers_executed, began.elapsed()), (5, 3 * SECOND));
}
