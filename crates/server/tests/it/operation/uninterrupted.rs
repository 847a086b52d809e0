//! New processes and other numbers of threads, and clients that notice neither.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::Request;

use super::{end, file, processes, successor};
use crate::harness::{Client, Origin, PATIENCE, Server, answer, full, signal, until};
use crate::tls::{self, Authority};

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
    secure: AtomicU64,
}

/// A whole file as the others have it, with a listener that speaks TLS.
fn secure_file(origin: &Origin, threads: usize) -> String {
    let certificate = "chain = \"shop.crt\"\nkey = \"shop.key\"";
    let plain = file(origin, &format!("threads = {threads}"));
    format!("{plain}[tls]\nlisten = [\"127.0.0.1:0\"]\n[certificate.shop]\n{certificate}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takeovers_and_changes_of_threads_refuse_and_reset_nobody() {
    let origin = Origin::start(|_| async { answer(200, &[], "ok") }).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Arc::new(Authority::new("roots"));
    authority.issue(folder.path(), "shop", &["shop.example"]);
    let server = Server::start_by(folder, super::binary(), &secure_file(&origin, 1));
    let tally = Arc::new(Tally::default());
    let (address, secure) = (server.address, server.tls);
    let mut clients = Vec::new();
    for number in 0..8 {
        let (tally, authority) = (Arc::clone(&tally), Arc::clone(&authority));
        clients.push(std::thread::spawn(move || match number {
            0..4 => new_connections(address, &tally),
            4 | 5 => kept_connections(address, &tally),
            6 => http2_connections(address, &tally),
            _ => secure_connections(secure, &authority, &tally),
        }));
    }
    let mut process = server.process();
    for round in 1..=rounds() {
        let threads = round % 4 + 1;
        std::fs::write(&server.file, secure_file(&origin, threads)).expect("written");
        signal(process, "HUP");
        server.wait_for_nth("config_reloaded", round);
        signal(process, "USR2");
        process = successor(&server, round);
        let failed = clients.iter().any(std::thread::JoinHandle::is_finished);
        assert!(!failed, "a client failed in round {round}");
    }
    tally.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no client was refused or reset");
    }
    assert_eq!(server.count("threads_changed"), rounds());
    let (connections, kept) = (tally.connections.load(Ordering::Relaxed), tally.kept.load(Ordering::Relaxed));
    assert!(connections > rounds() as u64 * 4, "{connections} connections");
    assert!(kept > rounds() as u64, "{kept} requests on kept connections");
    let secure = tally.secure.load(Ordering::Relaxed);
    assert!(secure > rounds() as u64 / 2, "{secure} connections with TLS");
    println!(
        "{0} takeovers and {0} changes of threads: {connections} connections, {secure} with TLS, and {kept} requests \
         on kept ones, 0 refused or reset",
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

/// A connection of HTTP/2 for each request.
///
/// All of it runs on one thread. With several, hyper's client may look between the request that it sends and the
/// answer whether the connection has ended, find the GOAWAY that came in the meantime, and give up the request,
/// which GOAWAY does not refuse and the server answers.
fn http2_connections(address: SocketAddr, tally: &Tally) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = Client::new(address).http2();
    while !tally.stop.load(Ordering::Relaxed) {
        let request = Request::get("/").body(full("")).expect("a request");
        let answer = runtime.block_on(client.try_send(request)).expect("nobody is refused or reset");
        assert_eq!(answer.status, 200);
        tally.connections.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(PAUSE);
    }
}

/// A connection with TLS for each request, its handshake among what must not be cut off.
fn secure_connections(address: SocketAddr, authority: &Authority, tally: &Tally) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    while !tally.stop.load(Ordering::Relaxed) {
        let answer = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.expect("nobody is refused");
            tls::get_over(authority, stream).await
        });
        assert_eq!(answer.status, 200);
        tally.secure.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(PAUSE);
    }
}
