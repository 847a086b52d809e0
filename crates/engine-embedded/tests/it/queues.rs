//! Queues where the suite of the ports does not look: consumers that wait, bounds of the engine, and much at once.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::envelope::Envelope;
use intertie_core::quantity::ByteSize;
use intertie_core::telemetry::{Events, Snapshot, Source};
use intertie_engine_embedded::store::OpenError;
use intertie_engine_embedded::{Embedded, EmbeddedConfig};
use intertie_messaging::commit::{CommitError, Operation, Refused};
use intertie_messaging::queue::{Lease, LeaseRequest, LeaseToken, QueueEngine, QueueSpec, Settlement};
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
async fn consumers_that_wait_for_room_get_every_message_once() {
    every_message_comes_once(QueueSpec { leases_max: count(2), ..QueueSpec::default() }).await;
    let leases_per_consumer_max = Some(NonZeroU32::MIN);
    every_message_comes_once(QueueSpec { leases_per_consumer_max, ..QueueSpec::default() }).await;
}

/// One who asked for a message, got none, and waits for longer than a test may take.
type Waiter = tokio::task::JoinHandle<Result<Vec<Lease>, EngineError>>;

/// Begins to wait. When this returns the engine has said that there is nothing: the waiter asks as it begins, and what
/// is asked after that is answered after it.
async fn wait(engine: &Arc<Embedded>, queue: &Name, consumer: &str) -> Waiter {
    let (own, request) = (engine.clone(), request(queue, consumer, BOUND * 10));
    let waiter = tokio::spawn(async move { own.lease(&request).await });
    tokio::task::yield_now().await;
    engine.depth(queue).await.expect("a depth");
    assert!(!waiter.is_finished(), "{consumer} has to wait");
    waiter
}

/// What it gets in the end: one message.
async fn gets(waiter: Waiter) -> Lease {
    let leases = tokio::time::timeout(BOUND, waiter).await.expect("it is told").expect("no panic");
    leases.expect("leases").remove(0)
}

async fn lease(engine: &Embedded, queue: &Name, consumer: &str) -> Lease {
    engine.lease(&request(queue, consumer, Duration::ZERO)).await.expect("leases").remove(0)
}

async fn acknowledge(engine: &Embedded, queue: &Name, lease: Lease) {
    let settle = Operation::Settle { queue: queue.clone(), lease: lease.id, settlement: Settlement::Ack };
    engine.commit(settle.into()).await.expect("settles");
}

/// A queue as `spec` says, with so many messages.
async fn filled(spec: QueueSpec, messages: u32) -> (TempDir, Arc<Embedded>, Name) {
    let place = TempDir::new().expect("a directory");
    let (engine, queue) = (open(&place, &EmbeddedConfig::default()), name("orders"));
    engine.declare_queue(&queue, &spec).await.expect("declares");
    engine.commit((0..messages).map(|id| send(&queue, id)).collect()).await.expect("stores");
    (place, engine, queue)
}

/// Nobody but the one that waits asks for anything, so that only what it is told ends its wait.
#[tokio::test]
async fn who_waits_is_told_of_room_among_all_leases() {
    let (_place, engine, queue) =
        filled(QueueSpec { leases_max: NonZeroU32::MIN, ..QueueSpec::default() }, 2).await;
    let held = lease(&engine, &queue, "first").await;
    let waiter = wait(&engine, &queue, "second").await;
    acknowledge(&engine, &queue, held).await;
    assert_eq!(id(&gets(waiter).await.content), "1");
}

#[tokio::test]
async fn who_waits_is_told_of_room_in_its_own_share() {
    let spec = QueueSpec { leases_per_consumer_max: Some(NonZeroU32::MIN), ..QueueSpec::default() };
    let (_place, engine, queue) = filled(spec, 2).await;
    let held = lease(&engine, &queue, "first").await;
    let waiter = wait(&engine, &queue, "first").await;
    acknowledge(&engine, &queue, held).await;
    assert_eq!(id(&gets(waiter).await.content), "1");
}

#[tokio::test]
async fn a_message_goes_past_those_whose_share_is_used_up() {
    let spec = QueueSpec { leases_per_consumer_max: Some(NonZeroU32::MIN), ..QueueSpec::default() };
    let (_place, engine, queue) = filled(spec, 1).await;
    let _held = lease(&engine, &queue, "first").await;
    // Those who may have nothing came first, and one may have one of two.
    let full = [wait(&engine, &queue, "first").await, wait(&engine, &queue, "first").await];
    let second = [wait(&engine, &queue, "second").await, wait(&engine, &queue, "second").await];
    let third = wait(&engine, &queue, "third").await;
    engine.commit([1, 2].map(|id| send(&queue, id)).into_iter().collect()).await.expect("stores");
    let [first_of_second, last_of_second] = second;
    let ids = [id(&gets(first_of_second).await.content), id(&gets(third).await.content)];
    assert_eq!(BTreeSet::from(ids), BTreeSet::from(["1".to_owned(), "2".to_owned()]));
    assert!(!last_of_second.is_finished() && full.iter().all(|waiter| !waiter.is_finished()));
}

#[tokio::test]
async fn a_message_that_its_waiter_does_not_take_is_the_next_ones() {
    let (_place, engine, queue) = filled(QueueSpec::default(), 0).await;
    let (first, second) = (wait(&engine, &queue, "first").await, wait(&engine, &queue, "second").await);
    let sent = engine.commit(send(&queue, 1).into());
    first.abort();
    sent.await.expect("stores");
    assert_eq!(id(&gets(second).await.content), "1");
}

#[tokio::test]
async fn the_living_behind_many_dead_are_leased_at_the_first_question() {
    let place = TempDir::new().expect("a directory");
    let engine = open(&place, &EmbeddedConfig { step: NonZeroU32::MIN, ..EmbeddedConfig::default() });
    let queue = name("orders");
    engine.declare_queue(&queue, &QueueSpec::default()).await.expect("declares");
    let expired = (0..50).map(|id| {
        let envelope = Envelope::new(&id.to_string(), "/test", "tested").expect("an event");
        let message = envelope.with_expiry_time(Timestamp::from_unix_seconds(1)).into();
        Operation::Send { queue: queue.clone(), message }
    });
    let alive = std::iter::once(send(&queue, 50));
    engine.commit(expired.chain(alive).collect()).await.expect("stores");
    assert_eq!(id(&lease(&engine, &queue, "worker").await.content), "50");
}

#[tokio::test]
async fn ten_thousand_settlements_of_an_unknown_queue_beside_thousands_take_no_time() {
    let place = TempDir::new().expect("a directory");
    let engine = open(&place, &EmbeddedConfig::default());
    let long = "a-queue-with-a-name-that-takes-a-while-to-compare-with-others-of-the-same-length";
    let declared = (0..500).map(|number| {
        let engine = engine.clone();
        let queue = name(&format!("{long}-{number}"));
        async move { engine.declare_queue(&queue, &QueueSpec::default()).await.expect("declares") }
    });
    declared.collect::<JoinSet<_>>().join_all().await;
    let settle = |number: u64| {
        let lease = LeaseToken { position: number, delivery: number, secret: 0 }.into();
        Operation::Settle { queue: name(long), lease, settlement: Settlement::Ack }
    };
    let refused = engine.commit((0..10_000).map(settle).collect());
    let refused = tokio::time::timeout(BOUND, refused).await.expect("it looks once");
    match refused {
        Err(CommitError::Refused {
            cause: Refused::Engine(EngineError::NotFound { nearest, .. }), ..
        }) => {
            assert_eq!(nearest, Some(name(&format!("{long}-0"))));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_later_version_declared_is_not_opened_and_what_is_damaged_is_told() {
    let (place, engine, queue) = filled(QueueSpec::default(), 1).await;
    drop(engine);
    let write = |sql: &str| {
        let connection = rusqlite::Connection::open(place.path().join("intertie.db")).expect("opens");
        connection.execute(sql, []).expect("written");
    };
    let opens =
        || Embedded::open(place.path(), &EmbeddedConfig::default(), WallClock::system(), Events::default());
    write("UPDATE queue SET spec = json_set(spec, '$.compressed', 1) WHERE name = 'orders'");
    let refused = opens().expect_err("a later version wrote it");
    assert!(matches!(&refused, OpenError::NewerSpec { name, .. } if name == "orders"), "{refused:?}");
    write("UPDATE queue SET spec = json_remove(spec, '$.compressed') WHERE name = 'orders'");
    write("UPDATE message SET stored = 'long ago'");
    let engine = opens().expect("opens");
    engine.commit(send(&queue, 1).into()).await.expect("stores");
    assert_eq!(id(&lease(&engine, &queue, "worker").await.content), "1");
    let damages = engine.damages();
    assert_eq!((damages[0].queue.as_str(), damages[0].position), ("orders", Some(0)));
    assert!(damages[0].to_string().starts_with("message 0 of queue `orders`: "));
    let mut snapshot = Snapshot::default();
    Source::read(&engine, &mut snapshot);
    assert!(snapshot.families().iter().any(|family| family.name == "storage_damages"));
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
    let limit = EngineError::Limit { key: "queues_max", limit: "2".to_owned() };
    assert_eq!(more, Err(DeclareError::Engine(limit)));
    let large = engine.commit((0..3).map(|id| send(&queue, id)).collect()).await;
    assert_eq!(large, Err(CommitError::TooLarge { bound: "operations_max", is: 3, limit: 2 }));
    let first = request(&queue, "first", BOUND);
    let mut first = engine.lease(&first);
    let second = request(&queue, "second", BOUND);
    let second = std::future::poll_fn(|context| {
        assert!(first.as_mut().poll(context).is_pending());
        engine.lease(&second).as_mut().poll(context)
    });
    assert_eq!(second.await, Err(EngineError::Overloaded { bound: "waiting_max", limit: 1 }));
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
