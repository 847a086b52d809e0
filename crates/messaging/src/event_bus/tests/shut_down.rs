use tokio::time::Instant;

use super::*;

/// Two events, whose handler takes so long for each, and a shutdown after a second.
async fn check(takes: Duration) -> (PublishedBatch, ShutDown, Trial) {
    let config = EventBusConfig { handler_timeout: 1000 * SECOND, ..EventBusConfig::default() };
    let trial = Trial::with(config).await;
    let handler = move |_: Envelope, _: EventContext| async move {
        sleep(takes).await;
        Ok(())
    };
    trial.bus.subscribe(&name("slow"), "**".parse().expect("a pattern"), handler).expect("subscribed");
    let batch = [event("1", "orders.placed"), event("2", "orders.placed")];
    let stopped = async {
        sleep(SECOND).await;
        trial.bus.shut_down().await
    };
    let (published, ended) = tokio::join!(trial.bus.publish_batch(batch), stopped);
    (published.expect("stored"), ended, trial)
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_ends_and_nothing_begins() {
    let began = Instant::now();
    let (published, ended, trial) = check(5 * SECOND).await;
    assert!(published.is_success());
    assert_eq!((ended, began.elapsed()), (ShutDown { in_time: true, cut: 0 }, 10 * SECOND));
    let refused = trial.bus.publish(event("3", "orders.placed")).await;
    assert_eq!(refused, Err(PublishError::ShutDown));
    assert_eq!(trial.stored(0).await.len(), 2);
    assert_eq!(trial.told("event_bus_shut_down").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn handlers_that_do_not_end_are_dropped_and_reported() {
    let (published, ended, trial) = check(100 * SECOND).await;
    assert_eq!(ended, ShutDown { in_time: false, cut: 1 });
    let report: Vec<_> = published
        .events
        .iter()
        .map(|event| (event.handlers_executed, event.failures[0].failure.reason()))
        .collect();
    assert_eq!(report, [(1, "the bus was shut down"), (0, "the bus was shut down")]);
    assert_eq!((trial.bus.stats().in_flight, trial.stored(0).await.len()), (0, 2), "both are stored");
}

#[tokio::test(start_paused = true)]
async fn what_is_still_in_the_middlewares_is_not_stored_afterwards() {
    let config = EventBusConfig { handler_timeout: 1000 * SECOND, ..EventBusConfig::default() };
    let trial = Trial::with(config).await;
    let slow = |event: Envelope| async {
        sleep(100 * SECOND).await;
        Ok(event)
    };
    trial.bus.add_middleware(&name("slow"), slow).expect("added");
    let placed = trial.bus.publish(event("1", "orders.placed"));
    let stopped = async {
        sleep(SECOND).await;
        trial.bus.shut_down().await
    };
    let (published, ended) = tokio::join!(placed, stopped);
    assert_eq!((published, ended), (Err(PublishError::ShutDown), ShutDown { in_time: false, cut: 1 }));
    sleep(200 * SECOND).await;
    assert_eq!(trial.stored(0).await, []);
}
