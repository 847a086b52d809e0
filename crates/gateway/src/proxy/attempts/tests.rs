use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{LocalSet, yield_now};

use super::*;
use crate::config::TrafficConfig;
use crate::plan::{Endpoint, Service};
use crate::proxy::connect::open;
use crate::proxy::connection;
use crate::proxy::listener::Kind;
use crate::proxy::worker::Worker;

const PATIENCE: Duration = Duration::from_secs(20);

/// A data thread's world whose one route tries each of `endpoints` once.
fn worker(endpoints: &[SocketAddr]) -> Worker {
    let endpoints: Vec<_> = endpoints.iter().map(|at| format!("{{ at = \"{at}\" }}")).collect();
    let service = toml::from_str(&format!("endpoints = [{}]", endpoints.join(", "))).expect("a service");
    let route = toml::from_str("to = \"s\"\nretry = { attempts = 2, base = \"1ms\" }").expect("a route");
    let traffic = TrafficConfig {
        services: [("s".to_owned(), service)].into(),
        routes: [("/**".to_owned(), route)].into(),
        ..TrafficConfig::default()
    };
    Worker::serving(&traffic)
}

/// Keeps a connection to `endpoint` that can carry a request, and whose driver makes no further step.
async fn keep_without_driver(worker: &Rc<Worker>, service: &Arc<Service>, endpoint: &Endpoint) -> LocalSet {
    let pool = &worker.pool;
    let driver = LocalSet::new();
    let opening = driver.run_until(async {
        let connection = open(worker, service, endpoint).await.expect("somebody listens");
        pool.keep(service, connection, MonotonicClock::now());
        loop {
            let ready = pool.take(service, endpoint, MonotonicClock::now());
            if let Some(connection) = ready {
                return pool.keep(service, connection, MonotonicClock::now());
            }
            yield_now().await;
        }
    });
    tokio::time::timeout(PATIENCE, opening).await.expect("the connection becomes ready");
    driver
}

/// The lines of a head.
async fn head(stream: &mut TcpStream) -> Vec<String> {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(stream.read_u8().await.expect("more to come"));
    }
    String::from_utf8(read).expect("UTF-8").lines().map(str::to_owned).collect()
}

/// The first endpoint's kept connection takes the request and ends before it wrote a byte of it, and
/// nobody listens there any more.
#[tokio::test]
async fn a_post_that_was_handed_back_unsent_is_sent_with_all_its_headers_by_the_next_attempt() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let there = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = |listener: &TcpListener| listener.local_addr().expect("bound");
    let worker = Rc::new(worker(&[address(&gone), address(&there)]));
    let service = Arc::clone(&worker.plan.get().services[0]);
    let first = &service.endpoints[0];
    let driver = keep_without_driver(&worker, &service, first).await;
    let _kept = gone.accept().await.expect("connected");
    drop(gone);

    let front = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut client = TcpStream::connect(address(&front)).await.expect("connects");
    let (stream, peer) = front.accept().await.expect("accepts");
    let (_drain, draining) = watch::channel(false);
    let gateway = connection::run(Rc::clone(&worker), Kind::Plain, stream, peer.ip(), draining);
    let sent = [
        "POST /pay HTTP/1.1",
        "host: shop.example",
        "authorization: secret",
        "content-type: text/plain",
        "content-length: 7",
        "connection: close",
    ];
    let calling = async {
        let request = format!("{}\r\n\r\n7 euros", sent.join("\r\n"));
        client.write_all(request.as_bytes()).await.expect("written");
        while first.in_flight() == 0 {
            yield_now().await;
        }
        drop(driver);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    };
    let serving = async {
        let (mut stream, _) = there.accept().await.expect("accepts");
        let head = head(&mut stream).await;
        let mut body = [0; 7];
        stream.read_exact(&mut body).await.expect("a body");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("written");
        (head, body)
    };
    let all = async { tokio::join!(gateway, calling, serving).2 };
    let local = LocalSet::new();
    let ended = tokio::time::timeout(PATIENCE, local.run_until(all)).await;
    let (head, body) = ended.expect("the POST arrives in time");
    for line in sent.into_iter().filter(|line| !line.starts_with("connection")) {
        assert!(head.iter().any(|arrived| arrived == line), "no `{line}` in {head:?}");
    }
    for name in ["x-request-id", "x-forwarded-for", "traceparent"] {
        assert!(head.iter().any(|arrived| arrived.starts_with(name)), "no `{name}` in {head:?}");
    }
    let attempts: Vec<_> =
        head.iter().filter(|line| line.starts_with("intertie-attempt")).map(String::as_str).collect();
    assert_eq!((attempts.as_slice(), &body), (["intertie-attempt: 2"].as_slice(), b"7 euros"));
}
