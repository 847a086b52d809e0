//! Connections are cut after any number of bytes: what callers are told is true, and what they are not told they know.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use intertie_engine_postgres::{Postgres, PostgresConfig, ServerConfig};
use intertie_messaging::Durability;
use intertie_messaging::queue::QueueEngine;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::ledger::{Ledger, name, spec};
use crate::server::{schema, shared};

/// Bytes that pass before a connection is cut, in both directions together: enough to begin, and seldom more than a few
/// transactions.
const BYTES: std::ops::Range<u64> = 1_000..20_000;

/// What the engine says at the end of a transaction.
const COMMIT: &[u8] = b"COMMIT";

/// Stands before a server, and cuts connections while it is told to.
struct Scissors {
    address: std::net::SocketAddr,
    cuts: Arc<AtomicBool>,
}

impl Scissors {
    async fn before(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        let cuts = Arc::new(AtomicBool::new(false));
        let does_cut = cuts.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&socket).await.expect("the server is there");
                tokio::spawn(pass(client, server, does_cut.clone()));
            }
        });
        Self { address, cuts }
    }
}

/// Passes bytes on, until there are none or they are cut in their midst.
async fn pass(mut client: TcpStream, mut server: UnixStream, cuts: Arc<AtomicBool>) {
    client.set_nodelay(true).expect("is a socket");
    let mut left = fastrand::u64(BYTES);
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let (mut questions, mut answers) = ([0; 4096], [0; 4096]);
    loop {
        let passed = tokio::select! {
            read = from_client.read(&mut questions) => {
                let does_commit = read.as_ref().is_ok_and(|read| {
                    questions[..*read].windows(COMMIT.len()).any(|bytes| bytes == COMMIT)
                });
                let passed = forward(read, &questions, &mut to_server, &mut left, &cuts).await;
                if does_commit && cuts.load(Ordering::Relaxed) && fastrand::u8(..12) == 0 {
                    // It is done, and nobody hears of it.
                    let _ = from_server.read(&mut answers).await;
                    return;
                }
                passed
            }
            read = from_server.read(&mut answers) => {
                forward(read, &answers, &mut to_client, &mut left, &cuts).await
            }
        };
        if passed.is_none() {
            return;
        }
    }
}

/// Nothing, when the connection is to end.
async fn forward(
    read: std::io::Result<usize>,
    bytes: &[u8],
    to: &mut (impl AsyncWrite + Unpin),
    left: &mut u64,
    cuts: &AtomicBool,
) -> Option<()> {
    let read = read.ok().filter(|read| *read > 0)?;
    let allowed = if cuts.load(Ordering::Relaxed) { (*left).min(read as u64) as usize } else { read };
    to.write_all(&bytes[..allowed]).await.ok()?;
    *left = left.saturating_sub(read as u64);
    (allowed == read).then_some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_callers_are_told_is_true_wherever_a_connection_is_cut() {
    let (server, schema) = (shared(), schema());
    let scissors = Scissors::before(server.socket()).await;
    let mut config = PostgresConfig { schema, ..PostgresConfig::default() };
    let direct = Postgres::open(&server.config(), &config).await.expect("opens");
    for queue in ["orders", "shipments"] {
        direct.declare_queue(&name(queue), &spec(Durability::UNSYNCED)).await.expect("declares");
    }
    config.look_every = Duration::from_millis(50);
    let mut cut = ServerConfig::new();
    cut.host(scissors.address.ip().to_string())
        .port(scissors.address.port())
        .user("tests")
        .dbname("postgres");
    let engine = Arc::new(Postgres::open(&cut, &config).await.expect("opens"));
    scissors.cuts.store(true, Ordering::Relaxed);
    let ledger = Arc::new(Ledger::default());
    let mut callers = JoinSet::new();
    for caller in 0..6 {
        callers.spawn(ledger.clone().work(engine.clone(), format!("consumer-{caller}"), 50));
    }
    while let Some(caller) = callers.join_next().await {
        caller.expect("no caller panics");
    }
    assert!(ledger.failures() > 20, "{} failures", ledger.failures());
    ledger.check(&direct).await;
}
