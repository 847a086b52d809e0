//! A day of a shop, in a minute: what a build guided by a profile learns from (`cargo xtask dist`). It is
//! made of ordinary traffic, not of what the benchmarks ask for, so that they measure what users will get.
//!
//! Here every kind of its requests is answered once. With `INTERTIE_TRAINING` set to another build of the server
//! that one is asked instead, for [`LONG`].

mod day;
mod shop;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{Server, services};
use crate::tls::{Authority, Client, Session};
use day::Day;

const LONG: Duration = Duration::from_secs(40);

/// Connections of each kind that clients keep open.
const KEPT: u64 = 8;

/// Requests that share a connection of HTTP/2.
const STREAMS: u64 = 4;

/// When clients go home.
#[derive(Debug, Clone, Copy)]
enum Closing {
    AfterEachOnce,
    At(Instant),
}

#[tokio::test]
async fn a_day_of_the_shop() {
    let other = std::env::var("INTERTIE_TRAINING").ok();
    let binary = other.as_deref().unwrap_or(env!("CARGO_BIN_EXE_intertie"));
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.issue(folder.path(), "shop", &["shop.example"]);
    let http1 = [shop::service(false), shop::service(false)];
    let text = shop::file(folder.path(), http1, shop::service(true));
    let mut server = Server::start_by(folder, std::process::Command::new(binary), &text);

    let closing = other.as_ref().map_or(Closing::AfterEachOnce, |_| Closing::At(Instant::now() + LONG));
    let (plain, secure) = (server.address, server.tls);
    let asked = services().spawn(clients(plain, secure, authority, closing)).await.expect("no client fails");
    eprintln!("{asked} requests were answered");
    let log = std::fs::read_to_string(server.folder.path().join("access.log")).expect("an access log");
    assert!(log.starts_with('{'), "JSON");
    // The profile is written when the process ends by itself.
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
}

/// All clients, until they go home; how much they asked for.
async fn clients(plain: SocketAddr, secure: SocketAddr, authority: Authority, closing: Closing) -> usize {
    let http1 = Arc::new(Client::new(&authority).offering(&["http/1.1"]));
    let http2 = Client::new(&authority).offering(&["h2"]);
    let mut clients = JoinSet::new();
    let mut seed = 0;
    let mut day = |scheme| {
        seed += 1;
        Day::new(scheme, seed, closing)
    };
    for number in 0..KEPT {
        for _ in 0..2 {
            let session = Session::http1(connect(plain).await).await.expect("HTTP/1.1");
            clients.spawn(day("http").of(session));
        }
        clients.spawn(day("https").of(open(&http1, secure).await));
        clients.spawn(day("https").of_visitors(Arc::clone(&http1), secure));
        if number % STREAMS == 0 {
            let stream = http2.secure(connect(secure).await).await.expect("a handshake");
            let secured = Session::http2(stream).await.expect("HTTP/2");
            let session = Session::http2(connect(plain).await).await.expect("HTTP/2");
            for _ in 0..STREAMS {
                clients.spawn(day("http").of(Session::Http2(session.clone())));
                clients.spawn(day("https").of(Session::Http2(secured.clone())));
            }
        }
    }
    clients.join_all().await.iter().sum()
}

async fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).await.expect("a connection");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

async fn open(client: &Client, to: SocketAddr) -> Session {
    Session::open(client.secure(connect(to).await).await.expect("a handshake")).await.expect("spoken")
}
