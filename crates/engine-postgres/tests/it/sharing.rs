//! Nodes beside each other, and beside transactions that are somebody else's.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use intertie_engine_postgres::{Postgres, PostgresConfig, ServerConfig};
use intertie_messaging::commit::{Commit, CommitError, Committed, Outcome};
use intertie_messaging::queue::{QueueEngine, QueueSpec, Settlement};
use intertie_messaging::{Durability, Engine, EngineError};
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use crate::ledger::{id, name, request, send, settle};
use crate::server::{schema, shared};

/// Longer than anything takes that does not wait for the next look; a quarter of it is less than a consumer sleeps.
const SOON: Duration = Duration::from_secs(20);

/// Nodes that do not look by themselves while a test runs.
fn config() -> PostgresConfig {
    PostgresConfig { schema: schema(), look_every: Duration::from_secs(60), ..PostgresConfig::default() }
}

async fn opened(server: &ServerConfig, config: &PostgresConfig) -> Arc<Postgres> {
    let engine = Arc::new(Postgres::open(server, config).await.expect("opens"));
    let spec = QueueSpec { durability: Durability::UNSYNCED, ..QueueSpec::default() };
    engine.declare_queue(&name("orders"), &spec).await.expect("declares");
    engine
}

/// A session of somebody else, in the schema of the engine.
async fn stranger(server: &ServerConfig, config: &PostgresConfig) -> Client {
    let (client, connection) = server.connect(NoTls).await.expect("connects");
    tokio::spawn(connection);
    client.batch_execute(&format!("SET search_path TO {}", config.schema)).await.expect("runs");
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_hears_of_what_was_sent_at_another_node() {
    let (server, config, queue) = (shared(), config(), name("orders"));
    let one = opened(&server.config(), &config).await;
    let other = opened(&server.config(), &config).await;
    for number in 0..3 {
        let (waiter, asks) = (other.clone(), request(&queue, "worker", 1, 2 * SOON));
        let waits = tokio::spawn(async move { waiter.lease(&asks).await });
        // Sooner or later it sleeps; a message that comes before finds it awake, which is no other promise.
        tokio::time::sleep(Duration::from_millis(200)).await;
        one.commit(send(&queue, number).into()).await.expect("sends");
        let leases =
            tokio::time::timeout(SOON / 4, waits).await.expect("is told").expect("ends").expect("leases");
        assert_eq!(id(&leases[0].content), number);
        other.commit(settle(&queue, &leases[0], Settlement::Ack).into()).await.expect("settles");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_passes_over_what_another_transaction_has() {
    let (server, config, queue) = (shared(), config(), name("orders"));
    let engine = opened(&server.config(), &config).await;
    engine.commit([send(&queue, 1), send(&queue, 2)].into_iter().collect()).await.expect("sends");
    let stranger = stranger(&server.config(), &config).await;
    stranger
        .batch_execute("BEGIN; SELECT 1 FROM message ORDER BY position LIMIT 1 FOR UPDATE")
        .await
        .expect("locks");
    let asks = request(&queue, "worker", 2, Duration::ZERO);
    let leases = tokio::time::timeout(SOON, engine.lease(&asks)).await.expect("waits for nobody");
    assert_eq!(leases.expect("leases").iter().map(|lease| id(&lease.content)).collect::<Vec<_>>(), [2]);
    stranger.batch_execute("ROLLBACK").await.expect("unlocks");
    assert_eq!(engine.lease(&asks).await.expect("leases").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_the_server_gives_up_for_another_is_tried_again() {
    let (server, config, queue) = (shared(), config(), name("orders"));
    let engine = opened(&server.config(), &config).await;
    engine.commit([send(&queue, 1), send(&queue, 2)].into_iter().collect()).await.expect("sends");
    let leases = engine.lease(&request(&queue, "worker", 2, Duration::ZERO)).await.expect("leases");
    let stranger = stranger(&server.config(), &config).await;
    let lock = |order| format!("SELECT 1 FROM message ORDER BY position {order} LIMIT 1 FOR UPDATE");
    stranger.batch_execute(&format!("BEGIN; {}", lock("DESC"))).await.expect("locks the second");
    let commit: Commit = leases.iter().map(|lease| settle(&queue, lease, Settlement::Ack)).collect();
    let commits = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.commit(commit).await })
    };
    // It has the first by then, and waits for the second; now each waits for the other.
    let waits = "SELECT 1 FROM pg_locks WHERE NOT granted";
    while stranger.query(waits, &[]).await.expect("looks").is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Whichever of them the server chooses.
    let _ = stranger.batch_execute(&lock("ASC")).await;
    stranger.batch_execute("ROLLBACK").await.expect("gives up");
    let committed = tokio::time::timeout(SOON, commits).await.expect("goes on").expect("ends");
    assert!(matches!(committed, Ok(Committed::Done(_))), "{committed:?}");
    assert_eq!(engine.depth(&queue).await.expect("counts").in_flight, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_too_long_or_with_too_many_hears_that_nothing_was_done() {
    let (server, queue) = (shared(), name("orders"));
    let config = PostgresConfig {
        connections_max: NonZeroU32::MIN,
        pending_max: NonZeroU32::MIN,
        transaction_timeout: Duration::from_secs(2),
        ..config()
    };
    let engine = opened(&server.config(), &config).await;
    let stranger = stranger(&server.config(), &config).await;
    let lock = "SELECT pg_advisory_lock(oid::int4, 0) FROM pg_namespace WHERE nspname = current_schema()";
    stranger.batch_execute(lock).await.expect("locks everything");
    let begin = |number| {
        let (engine, commit) = (engine.clone(), Commit::from(send(&queue, number)));
        tokio::spawn(async move { engine.commit(commit).await })
    };
    let late = begin(1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let pending = begin(2);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let refused = engine.commit(send(&queue, 3).into()).await;
    assert_eq!(refused, Err(CommitError::Overloaded { bound: "pending_max", limit: 1 }));
    let browsed = engine.depth(&queue).await;
    assert_eq!(browsed, Err(EngineError::Overloaded { bound: "pending_max", limit: 1 }));
    for late in [late, pending] {
        let undone = tokio::time::timeout(SOON, late).await.expect("is told").expect("ends");
        assert!(matches!(undone, Err(CommitError::Unavailable { .. })), "{undone:?}");
    }
    stranger.batch_execute("SELECT pg_advisory_unlock_all()").await.expect("unlocks");
    assert_eq!(engine.depth(&queue).await.expect("counts").ready, 0);
    engine.commit(send(&queue, 4).into()).await.expect("sends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_removed_leaves_no_rows() {
    let (server, queue) = (shared(), name("orders"));
    let config = PostgresConfig {
        look_every: Duration::from_millis(20),
        step: NonZeroU32::new(7).expect("not zero"),
        ..config()
    };
    let engine = opened(&server.config(), &config).await;
    engine.commit((0..50).map(|number| send(&queue, number)).collect()).await.expect("sends");
    let leases = engine.lease(&request(&queue, "worker", 9, Duration::ZERO)).await.expect("leases");
    let settled = leases.iter().take(4).map(|lease| settle(&queue, lease, Settlement::Ack)).collect();
    engine.commit(settled).await.expect("settles");
    engine.delete_queue(&queue).await.expect("deletes");
    let stranger = stranger(&server.config(), &config).await;
    let rows = "SELECT (SELECT count(*) FROM message) + (SELECT count(*) FROM content)
                + (SELECT count(*) FROM settled) + (SELECT count(*) FROM removed) + (SELECT count(*) FROM queue)";
    let cleared = async {
        while stranger.query_one(rows, &[]).await.expect("counts").get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, cleared).await.expect("all rows go");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sends_with_one_id_at_two_nodes_one_is_stored() {
    let (server, config, queue) = (shared(), config(), name("orders"));
    let nodes = [opened(&server.config(), &config).await, opened(&server.config(), &config).await];
    let deduplication_window = Some(Duration::from_secs(600));
    let spec = QueueSpec { deduplication_window, durability: Durability::UNSYNCED, ..QueueSpec::default() };
    nodes[0].declare_queue(&queue, &spec).await.expect("declares");
    let mut sends = JoinSet::new();
    for number in 0..40 {
        let (node, commit) = (nodes[number % 2].clone(), Commit::from(send(&queue, 7)));
        sends.spawn(async move { node.commit(commit).await.expect("sends") });
    }
    let committed = sends.join_all().await;
    let is_stored = |committed: &Committed| matches!(committed, Committed::Done(outcomes) if matches!(outcomes[..], [Outcome::Stored(_)]));
    assert_eq!(committed.iter().filter(|committed| is_stored(committed)).count(), 1, "{committed:?}");
    assert_eq!(nodes[1].depth(&queue).await.expect("counts").ready, 1);
}
