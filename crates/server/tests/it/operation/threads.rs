//! Another number of data threads.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use super::limits::limited;
use super::{data_threads, file};
use crate::harness::{Client, OWN, Origin, Reply, Server, answer, until};

#[tokio::test]
async fn a_reload_changes_them_and_nothing_else() {
    let origin = Origin::start(|_| async { answer(200, &[], "ok") }).await;
    let text = |threads: usize| file(&origin, &format!("threads = {threads}"));
    let server = Server::start_with(
        "threads = 1",
        text(1).strip_prefix(OWN).expect("its own").split_once('\n').expect("keys").1,
    );
    let mut kept = Client::new(server.address).connect().await.expect("connects");
    for (number, (from, to)) in [(1, 3), (3, 2)].into_iter().enumerate() {
        std::fs::write(&server.file, text(to)).expect("written");
        server.signal("HUP");
        let line = server.wait_for_nth("threads_changed", number + 1);
        assert!(line.contains(&format!("from={from} to={to}")), "{line}");
        assert_eq!(Client::new(server.address).get("/").await.status, 200);
        assert!(!server.wait_for_nth("config_reloaded", number + 1).contains("needs_restart"));
    }
    // A thread that retired long ago still serves the connection that it accepted, once.
    kept.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    let mut said = String::new();
    kept.read_to_string(&mut said).await.expect("an orderly end");
    assert!(said.starts_with("HTTP/1.1 200 ") && said.contains("\r\nconnection: close\r\n"), "{said}");
    until(async || data_threads(server.process()) == 2, "the threads before are gone").await;
    assert_eq!(server.count("threads_cut"), 0);
    let (_, metrics) = server.admin("/metrics").await;
    let shown = [0, 1, 2].map(|thread| {
        metrics.contains(&format!("intertie_data_thread_busy_seconds_total{{thread=\"{thread}\"}}"))
    });
    assert_eq!(shown, [true, true, false], "{metrics}");
}

#[tokio::test]
async fn threads_before_have_as_long_as_a_drain() {
    let arrived = Arc::new(Semaphore::new(0));
    let arriving = Arc::clone(&arrived);
    let origin = Origin::start(move |_| {
        arriving.add_permits(1);
        async { Reply::Hang }
    })
    .await;
    let server = Server::start_with("threads = 1\ndrain = \"200ms\"", &super::traffic(&origin));
    let client = Client::new(server.address);
    let request = http::Request::get("/").body(crate::harness::full("")).expect("a request");
    let under_way = tokio::spawn(async move { client.try_send(request).await });
    arrived.acquire().await.expect("open").forget();
    server.rewrite("threads = 2\ndrain = \"200ms\"", &super::traffic(&origin));
    server.signal("HUP");
    let line = server.wait_for("threads_cut");
    assert!(line.contains("threads=1"), "{line}");
    assert!(under_way.await.expect("no panic").is_err());
    until(async || data_threads(server.process()) == 2, "the thread before is gone").await;
}

/// The sockets that listen on `address`.
pub(super) fn listening(address: SocketAddr) -> usize {
    const LISTEN: &str = "0A";
    let port = format!(":{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let sockets = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    sockets.filter(|fields| fields[1].ends_with(&port) && fields[3] == LISTEN).count()
}

#[tokio::test]
async fn threads_that_can_not_be_had_leave_everything_as_it_was() {
    let origin = Origin::start(|_| async { answer(200, &[], "ok") }).await;
    let text = |threads: usize| file(&origin, &format!("threads = {threads}"));
    let server = limited("ulimit -n 100", &text(1));
    assert_eq!(listening(server.address), 1);
    // Descriptors end at the runtimes of the threads, at the duplicates of the sockets, and at the sockets.
    for (number, threads) in [25, 60, 200].into_iter().enumerate() {
        std::fs::write(&server.file, text(threads)).expect("written");
        server.signal("HUP");
        let line = server.wait_for_nth("threads_refused", number + 1);
        assert!(line.contains("Too many open files"), "{line}");
        assert_eq!((data_threads(server.process()), listening(server.address)), (1, 1), "{threads}");
        for _ in 0..20 {
            assert_eq!(Client::new(server.address).get("/").await.status, 200);
        }
    }
    assert_eq!(server.count("threads_changed"), 0);
}
