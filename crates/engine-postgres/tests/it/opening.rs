//! What is found when a database is opened, and what is said of it then.

use std::sync::Arc;

use intertie_engine_postgres::{OpenError, Postgres, PostgresConfig, ServerConfig};
use intertie_messaging::conformance::{Ports, capability_table, claims};
use intertie_messaging::queue::{QueueEngine, QueueSpec};
use intertie_messaging::{DeclareError, Durability};
use tokio_postgres::NoTls;

use crate::ledger::name;
use crate::server::{Server, schema, shared};

const PAGE: &str = include_str!("../../../../docs/engine-postgres.md");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_has_what_the_engine_says_of_itself() {
    let server = Server::start(&["synchronous_commit = off"]);
    let engine = Postgres::open(&server.config(), &PostgresConfig::default()).await.expect("opens");
    let ports = Ports { queues: Some(Arc::new(engine)), logs: None, inboxes: None, requests: None };
    let mut says = claims(&ports);
    "13 or later".clone_into(&mut says.version);
    let table = capability_table(&[says]);
    // The last line counts cases.
    let (table, _) = table.trim_end().rsplit_once('\n').expect("lines");
    let (_, rest) = PAGE.split_once("<!-- capabilities -->\n").expect("a mark");
    let (page, _) = rest.split_once("<!-- end -->").expect("a mark");
    assert_eq!(page.trim_end(), table, "docs/engine-postgres.md is to have:\n{table}\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_sync_promises_no_synced_copy() {
    let server = shared();
    let config = PostgresConfig { schema: schema(), ..PostgresConfig::default() };
    let engine = Postgres::open(&server.config(), &config).await.expect("opens");
    let refused = engine.declare_queue(&name("orders"), &QueueSpec::default()).await;
    match refused {
        Err(DeclareError::Refused(refusals)) => {
            assert_eq!(refusals.len(), 1);
            assert_eq!(refusals[0].feature, "durability");
            assert!(refusals[0].why.contains("fsync = off"), "{}", refusals[0]);
        }
        other => panic!("{other:?}"),
    }
    let spec = QueueSpec { durability: Durability::UNSYNCED, ..QueueSpec::default() };
    engine.declare_queue(&name("orders"), &spec).await.expect("declares");
}

/// What `sql` does to a schema behind the engine's back.
async fn run(server: &ServerConfig, sql: &str) {
    let (client, connection) = server.connect(NoTls).await.expect("connects");
    tokio::spawn(connection);
    client.batch_execute(sql).await.expect("runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_a_later_version_wrote_is_left_alone() {
    let server = shared();
    let config = PostgresConfig { schema: schema(), ..PostgresConfig::default() };
    drop(Postgres::open(&server.config(), &config).await.expect("opens"));
    run(&server.config(), &format!("UPDATE {}.schema_version SET version = 1000", config.schema)).await;
    match Postgres::open(&server.config(), &config).await {
        Err(OpenError::Later { version: 1000, known }) => assert!(known < 1000),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_not_told_when_a_server_is_shown() {
    let server = shared();
    let mut secret = server.config();
    secret.password("open sesame");
    let config = PostgresConfig { schema: schema(), ..PostgresConfig::default() };
    let engine = Postgres::open(&secret, &config).await.expect("opens");
    assert!(!format!("{engine:?}").contains("sesame"));
    let mut nowhere = ServerConfig::new();
    nowhere.host("127.0.0.1").port(1).user("tests").password("open sesame");
    let refused = Postgres::open(&nowhere, &config).await.expect_err("nobody is there");
    assert!(!format!("{refused} {refused:?}").contains("sesame"));
}
