//! Queues where the suite of the ports does not look: consumers that wait, bounds of the engine, and much at once.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use intertie_core::clock::WallClock;
use intertie_core::envelope::Envelope;
use intertie_core::quantity::ByteSize;
use intertie_core::telemetry::Events;
use intertie_engine_embedded::{Embedded, EmbeddedConfig};
use intertie_messaging::commit::{CommitError, Operation};
use intertie_messaging::queue::{LeaseRequest, QueueEngine, QueueSpec, Settlement};
use intertie_messaging::{Content, DeclareError, Engine, EngineError, Name};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// Longer than anything takes that is not stuck.
const BOUND: Duration = Duration::from_secs(60);

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn count(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).expect("not zero")
}

fn open(directory: &TempDir, config: &EmbeddedConfig) -> Arc<Embedded> {
    let events = Events::default();
    Arc::new(Embedded::open(directory.path(), config, WallClock::system(), events).expect("opens"))
}

fn send(queue: &Name, id: u32) -> Operation {
    let message = Envelope::new(&id.to_string(), "/test", "tested").expect("an event").into();
    Operation::Send { queue: queue.clone(), message }
}

fn request(queue: &Name, consumer: &str, wait: Duration) -> LeaseRequest {
    let (queue, bytes_max) = (queue.clone(), ByteSize::from_bytes(1 << 20));
    LeaseRequest {
        queue,
        consumer: name(consumer),
        most: NonZeroU32::MIN,
        bytes_max,
        visibility_timeout: None,
        wait,
    }
}

fn id(content: &Content) -> String {
    match content {
        Content::Envelope(envelope) => envelope.id().to_owned(),
        Content::Undecodable { problem, .. } => panic!("{problem}"),
    }
}

/// Handles messages until so many were handled by all.
async fn consume(engine: Arc<Embedded>, queue: Name, consumer: String) -> Vec<String> {
    let mut done = Vec::new();
    loop {
        let leases = engine.lease(&request(&queue, &consumer, Duration::from_secs(2))).await.expect("leases");
        let Some(lease) = leases.into_iter().next() else { return done };
        let settle = Operation::Settle { queue: queue.clone(), lease: lease.id, settlement: Settlement::Ack };
        engine.commit(settle.into()).await.expect("settles");
        done.push(id(&lease.content));
    }
}

async fn every_message_comes_once(spec: QueueSpec) {
    let place = TempDir::new().expect("a directory");
    let engine = open(&place, &EmbeddedConfig::default());
    let queue = name("orders");
    engine.declare_queue(&queue, &spec).await.expect("declares");
    let mut consumers = JoinSet::new();
    for consumer in 0..16 {
        consumers.spawn(consume(engine.clone(), queue.clone(), format!("consumer-{}", consumer % 4)));
    }
    for id in 0..200 {
        engine.commit(send(&queue, id).into()).await.expect("stores");
        if id % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut done = Vec::new();
    while let Some(had) = tokio::time::timeout(BOUND, consumers.join_next()).await.expect("they end") {
        done.extend(had.expect("no panic"));
    }
    let distinct: BTreeSet<_> = done.iter().collect();
    assert_eq!((done.len(), distinct.len()), (200, 200));
    assert_eq!(engine.depth(&queue).await.expect("a depth").ready, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_that_wait_miss_nothing() {
    every_message_comes_once(QueueSpec::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_that_wait_for_room_miss_nothing() {
    every_message_comes_once(QueueSpec { leases_max: count(2), ..QueueSpec::default() }).await;
    let leases_per_consumer_max = Some(NonZeroU32::MIN);
    every_message_comes_once(QueueSpec { leases_per_consumer_max, ..QueueSpec::default() }).await;
}

#[tokio::test]
async fn a_consumer_that_waits_hears_that_its_queue_is_gone() {
    let place = TempDir::new().expect("a directory");
    let engine = open(&place, &EmbeddedConfig::default());
    let queue = name("orders");
    engine.declare_queue(&queue, &QueueSpec::default()).await.expect("declares");
    let waiting = request(&queue, "worker", BOUND * 10);
    let deleted = async {
        tokio::task::yield_now().await;
        engine.delete_queue(&queue).await
    };
    let (leased, deleted) = tokio::join!(tokio::time::timeout(BOUND, engine.lease(&waiting)), deleted);
    deleted.expect("deletes");
    let leased = leased.expect("it is told");
    assert!(matches!(leased, Err(EngineError::NotFound { .. })), "{leased:?}");
}

#[tokio::test]
async fn each_bound_of_the_engine_refuses_by_its_name() {
    let place = TempDir::new().expect("a directory");
    let (one, two) = (NonZeroU32::MIN, count(2));
    let config = EmbeddedConfig {
        operations_max: two,
        queues_max: two,
        waiting_max: one,
        ..EmbeddedConfig::default()
    };
    let engine = open(&place, &config);
    let queue = name("orders");
    engine.declare_queue(&queue, &QueueSpec::default()).await.expect("declares");
    let more = engine.declare_queue(&name("shipments"), &QueueSpec::default()).await;
    let limit = |key, limit: &str| EngineError::Limit { key, limit: limit.to_owned() };
    assert_eq!(more, Err(DeclareError::Engine(limit("queues_max", "2"))));
    let large = engine.commit((0..3).map(|id| send(&queue, id)).collect()).await;
    assert_eq!(large, Err(CommitError::TooLarge { bound: "operations_max", is: 3, limit: 2 }));
    let first = request(&queue, "first", BOUND);
    let mut first = engine.lease(&first);
    let second = request(&queue, "second", BOUND);
    let second = std::future::poll_fn(|context| {
        assert!(first.as_mut().poll(context).is_pending());
        engine.lease(&second).as_mut().poll(context)
    });
    assert_eq!(second.await, Err(limit("waiting_max", "1")));
}

#[tokio::test]
async fn what_a_removed_queue_held_is_removed_step_by_step() {
    let place = TempDir::new().expect("a directory");
    let config = EmbeddedConfig { step: count(7), ..EmbeddedConfig::default() };
    let engine = open(&place, &config);
    let queue = name("orders");
    let spec = QueueSpec {
        groups: true,
        ttl: Some(BOUND * 100),
        deduplication_window: Some(BOUND * 100),
        ..QueueSpec::default()
    };
    engine.declare_queue(&queue, &spec).await.expect("declares");
    engine.commit((0..100).map(|id| send(&queue, id)).collect()).await.expect("stores");
    engine.lease(&request(&queue, "worker", Duration::ZERO)).await.expect("leases");
    engine.delete_queue(&queue).await.expect("deletes");
    // The name is free at once, and nothing of the old one is in the new one.
    engine.declare_queue(&queue, &spec).await.expect("declares again");
    engine.commit(send(&queue, 1).into()).await.expect("stores");
    assert_eq!(engine.depth(&queue).await.expect("a depth").ready, 1);
    drop(engine);
    let rows = || {
        let connection = rusqlite::Connection::open(place.path().join("intertie.db")).expect("opens");
        let count = |table: &str| {
            let sql = format!("SELECT count(*) FROM {table}");
            connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).expect(table)
        };
        let tables =
            ["message", "message_timer", "message_ready", "message_seen", "message_lease", "queue_removed"];
        tables.map(count)
    };
    for _ in 0..1000 {
        let engine = open(&place, &config);
        engine.depth(&queue).await.expect("a depth");
        drop(engine);
        if rows()[5] == 0 {
            break;
        }
    }
    assert_eq!(rows(), [1, 1, 1, 1, 0, 0]);
}
