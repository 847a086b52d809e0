//! The suite of the ports, each case in a schema of its own, many side by side, since most of their time they wait
//! for a real clock.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock};
use intertie_engine_postgres::PostgresConfig;
use intertie_messaging::Pending;
use intertie_messaging::conformance::{self, ConformanceConfig, Ports, Subject, Verdict};
use intertie_messaging::queue::QueueEngine;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::nodes::Nodes;
use crate::server::{Server, schema, shared};

/// A schema of its own for each case.
struct Schemas {
    server: Arc<Server>,
    now: Mutex<String>,
    /// Whether it has the machine to itself, and can take its time.
    is_alone: bool,
}

impl Schemas {
    fn new(server: &Arc<Server>, is_alone: bool) -> Self {
        Self { server: Arc::clone(server), now: Mutex::default(), is_alone }
    }

    async fn opened(&self, schema: String) -> Ports {
        let config = PostgresConfig { schema, ..PostgresConfig::default() };
        let engine = Arc::new(Nodes::open(&self.server.config(), &config).await);
        let queues: Arc<dyn QueueEngine> = engine.clone();
        Ports { queues: Some(queues), logs: None, inboxes: Some(engine.clone()), requests: Some(engine) }
    }
}

impl Subject for Schemas {
    fn open(&self) -> Pending<'_, Ports> {
        let new = schema();
        *self.now.lock().expect("no test panics with it") = new.clone();
        Box::pin(self.opened(new))
    }

    fn restart(&self, ports: Ports) -> Pending<'_, Option<Ports>> {
        drop(ports);
        let schema = self.now.lock().expect("no test panics with it").clone();
        Box::pin(async { Some(self.opened(schema).await) })
    }

    fn pass(&self, time: Duration) -> Pending<'_, ()> {
        Box::pin(tokio::time::sleep(time))
    }

    fn now(&self) -> Timestamp {
        WallClock::system().now()
    }

    fn tick(&self) -> Duration {
        Duration::from_millis(if self.is_alone { 1000 } else { 200 })
    }

    fn is_exact(&self) -> bool {
        false
    }
}

/// How many cases wait side by side.
const AT_ONCE: usize = 20;

/// What may be refused, and why.
const REFUSED: [&str; 4] = [
    "there is no port for topics",
    "`durable` on postgresql",
    "it keeps queues and no topics yet",
    "`durability` on postgresql",
];

#[test]
fn two_nodes_keep_every_promise_of_the_ports_together() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let few = |count: u32| count.try_into().expect("not zero");
    let config = ConformanceConfig { messages: few(500), consumers: few(20), ..ConformanceConfig::default() };
    let server = shared();
    let failed = runtime.expect("a runtime").block_on(async {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut cases = JoinSet::new();
        for case in conformance::cases() {
            let (places, config, server) = (places.clone(), config.clone(), server.clone());
            cases.spawn(async move {
                let _place = places.acquire_owned().await.expect("is not closed");
                let subject: Arc<dyn Subject> = Arc::new(Schemas::new(&server, false));
                (case, case.run(&subject, &config).await)
            });
        }
        let (mut late, mut failed) = (Vec::new(), Vec::new());
        let (passed, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        while let Some(case) = cases.join_next().await {
            let (case, verdict) = case.expect("cases are caught");
            match verdict {
                Verdict::Passed => drop(passed.fetch_add(1, Ordering::Relaxed)),
                Verdict::Failed { problem } => late.push((case, problem)),
                Verdict::NotApplicable { why } => {
                    assert!(REFUSED.iter().any(|refused| why.contains(refused)), "{case:?}: {why}");
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        eprintln!("{passed:?} passed, {refused:?} refused");
        // Cases look shortly before and after moments, and beside many others they may come late to them.
        for (case, problem) in late {
            eprintln!("{case:?}, beside others: {problem}");
            let subject: Arc<dyn Subject> = Arc::new(Schemas::new(&server, true));
            if let Verdict::Failed { problem } = case.run(&subject, &config).await {
                failed.push(format!("{case:?}: {problem}"));
            }
        }
        failed
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
