//! New processes and other numbers of threads, and clients that notice neither.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::Request;

use super::{end, file, processes, successor};
use crate::harness::{Client, Origin, PATIENCE, Server, answer, full, signal, until};

/// How many takeovers, and as many changes of the threads. `cargo xtask takeovers` asks for a thousand.
fn rounds() -> usize {
    std::env::var("INTERTIE_TAKEOVERS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(100)
}

/// Between the connections of one client, so that several of them are a steady stream and not a flood.
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    connections: AtomicU64,
    kept: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takeovers_and_changes_of_threads_refuse_and_reset_nobody() {
    let origin = Origin::start(|_| async { answer(200, &[], "ok") }).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start_by(folder, super::binary(), &file(&origin, "threads = 1"));
    let tally = Arc::new(Tally::default());
    let address = server.address;
    let mut clients = Vec::new();
    for number in 0..6 {
        let tally = Arc::clone(&tally);
        clients.push(std::thread::spawn(move || match number {
            0..4 => new_connections(address, &tally),
            _ => kept_connections(address, &tally),
        }));
    }
    let http2 = tokio::spawn(http2_connections(address, Arc::clone(&tally)));
    let mut process = server.process();
    for round in 1..=rounds() {
        let threads = round % 4 + 1;
        std::fs::write(&server.file, file(&origin, &format!("threads = {threads}"))).expect("written");
        signal(process, "HUP");
        server.wait_for_nth("config_reloaded", round);
        signal(process, "USR2");
        process = successor(&server, round);
        let failed = clients.iter().any(std::thread::JoinHandle::is_finished);
        assert!(!failed && !http2.is_finished(), "a client failed in round {round}");
    }
    tally.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no client was refused or reset");
    }
    http2.await.expect("no client was refused or reset");
    assert_eq!(server.count("threads_changed"), rounds());
    let (connections, kept) = (tally.connections.load(Ordering::Relaxed), tally.kept.load(Ordering::Relaxed));
    assert!(connections > rounds() as u64 * 4, "{connections} connections");
    assert!(kept > rounds() as u64, "{kept} requests on kept connections");
    println!(
        "{0} takeovers and {0} changes of threads: {connections} connections and {kept} requests on kept ones, \
         0 refused or reset",
        rounds()
    );
    until(async || processes(&server.file) == 1, "those before are gone").await;
    end(process).await;
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("nobody is refused");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.set_nodelay(true).expect("a socket");
    stream
}

/// A connection for each request.
fn new_connections(address: SocketAddr, tally: &Tally) {
    while !tally.stop.load(Ordering::Relaxed) {
        let mut stream = connect(address);
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").expect("nobody is reset");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("nobody is reset");
        assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("ok"), "{text:?}");
        tally.connections.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(PAUSE);
    }
}

/// One connection for as many requests as the server lets it have.
fn kept_connections(address: SocketAddr, tally: &Tally) {
    let mut stream = connect(address);
    while !tally.stop.load(Ordering::Relaxed) {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("nobody is reset");
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\nok") {
            let mut part = [0; 1024];
            let read = stream.read(&mut part).expect("nobody is reset");
            assert!(read > 0, "a kept connection ended without a word: {:?}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&part[..read]);
        }
        let text = String::from_utf8(text).expect("UTF-8");
        assert!(text.starts_with("HTTP/1.1 200 "), "{text:?}");
        if text.contains("\r\nconnection: close\r\n") {
            stream = connect(address);
        }
        tally.kept.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(PAUSE);
    }
}

async fn http2_connections(address: SocketAddr, tally: Arc<Tally>) {
    let client = Client::new(address).http2();
    while !tally.stop.load(Ordering::Relaxed) {
        let request = Request::get("/").body(full("")).expect("a request");
        let answer = client.try_send(request).await.expect("nobody is refused or reset");
        assert_eq!(answer.status, 200);
        tally.connections.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
}
