//! The server is killed under load: what it acknowledged is there, and what was ended does not come again.

use std::sync::Arc;
use std::time::Duration;

use intertie_engine_postgres::{Postgres, PostgresConfig};
use intertie_messaging::Durability;
use intertie_messaging::queue::QueueEngine;
use tokio::task::JoinSet;

use crate::ledger::{Ledger, name, spec};
use crate::server::Server;

const CALLERS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_server_has_acknowledged_is_there_and_what_was_ended_stays_so() {
    let server = Arc::new(Server::start(&[]));
    let config = PostgresConfig {
        pending_timeout: Duration::from_secs(2),
        look_every: Duration::from_millis(100),
        ..PostgresConfig::default()
    };
    let engine = Arc::new(Postgres::open(&server.config(), &config).await.expect("opens"));
    for queue in ["orders", "shipments"] {
        engine.declare_queue(&name(queue), &spec(Durability::SYNCED)).await.expect("declares");
    }
    let ledger = Arc::new(Ledger::default());
    for round in 0..4 {
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let consumer = format!("consumer-{caller}");
            callers.spawn(ledger.clone().work(engine.clone(), consumer, 20));
        }
        tokio::time::sleep(Duration::from_millis(100 + fastrand::u64(..200))).await;
        let killed = server.clone();
        let kill = move || if round % 2 == 0 { killed.kill() } else { killed.kill_backend() };
        tokio::task::spawn_blocking(kill).await.expect("is killed");
        while let Some(caller) = callers.join_next().await {
            caller.expect("no caller panics");
        }
    }
    assert!(ledger.failures() > 0, "nobody noticed that the server was killed");
    ledger.check(&engine).await;
}
