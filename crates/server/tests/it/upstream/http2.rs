//! HTTP/2 towards services: versions, connections and their bounds, streams in both directions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};

use super::frames::{self, CANCEL, DATA, ENHANCE_YOUR_CALM, INTERNAL_ERROR, PING, RST_STREAM, SETTINGS};
use super::liar::{Liar, Lie};
use super::origin::{Origin, Terms};
use super::{before, series};
use crate::clients::Channel;
use crate::harness::{AnyBody, Client, PATIENCE, Server, full, until};
use crate::tls::Authority;

const HTTP2: &str = "protocol = \"http2\"";

fn server(address: SocketAddr, service: &str, route: &str) -> Server {
    Server::start_with("threads = 1", &before(&[address], &format!("{HTTP2}\n{service}"), route))
}

fn channel() -> (mpsc::UnboundedSender<Frame<Bytes>>, AnyBody) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Channel(receiver).boxed())
}

fn trailers(name: &'static str, value: &'static str) -> Frame<Bytes> {
    Frame::trailers([(name.parse().expect("a name"), value.parse().expect("a value"))].into_iter().collect())
}

#[tokio::test]
async fn requests_arrive_as_http2_wants_them() {
    let origin = Origin::telling(Terms::http2()).await;
    let server = server(origin.address, "", "");
    let plain = Client::new(server.address);
    let headers = [("host", "shop.example:8080"), ("te", "trailers"), ("connection", "te"), ("x-order", "7")];
    assert_eq!(plain.get_with("/orders?page=2", &headers).await.text(), "HTTP/2.0");
    assert_eq!(plain.post("/orders", &headers, "a body").await.status, 200);
    assert_eq!(plain.http2().get("/orders").await.status, 200);
    let heads = origin.seen.heads();
    assert!(heads.iter().all(|head| head.version == Version::HTTP_2));
    assert_eq!(heads[0].uri, "http://shop.example:8080/orders?page=2");
    assert_eq!((&heads[1].method, heads[1].uri.path()), (&http::Method::POST, "/orders"));
    assert_eq!(heads[2].uri.authority().expect("a host").as_str(), server.address.to_string());
    for head in &heads {
        for name in ["host", "connection", "transfer-encoding", "keep-alive"] {
            assert!(!head.headers.contains_key(name), "{name}: {head:?}");
        }
    }
    assert_eq!(heads[0].headers["te"], "trailers");
    assert_eq!(heads[0].headers["x-order"], "7");
    assert_eq!(heads[1].headers["content-length"], "6");
    assert_eq!(origin.seen.connections(), 1, "one connection for all");
}

#[tokio::test]
async fn the_version_is_the_one_that_both_sides_can() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.issue(folder.path(), "orders", &["127.0.0.1"]);
    authority.write_into(folder.path());
    let roots = folder.path().join("roots.crt");
    for (protocol, offered, spoken) in [
        ("negotiate", &["h2", "http/1.1"][..], Some("HTTP/2.0")),
        ("negotiate", &["http/1.1"], Some("HTTP/1.1")),
        ("negotiate", &[], Some("HTTP/1.1")),
        ("http2", &["http/1.1", "h2"], Some("HTTP/2.0")),
        ("http2", &[], None),
        ("http1", &["h2", "http/1.1"], Some("HTTP/1.1")),
    ] {
        let origin = Origin::telling(Terms::tls(folder.path(), "orders", offered)).await;
        let keys = format!("protocol = \"{protocol}\"\ntls = {{ roots = {roots:?} }}");
        let server = Server::start_with("threads = 1", &before(&[origin.address], &keys, ""));
        let client = Client::new(server.address);
        for _ in 0..3 {
            let answer = client.get("/").await;
            match spoken {
                Some(spoken) => assert_eq!(answer.text(), spoken, "{protocol} with {offered:?}"),
                None => assert!(answer.text().contains("does not agree to the version"), "{}", answer.text()),
            }
        }
        if spoken.is_some() {
            assert_eq!(origin.seen.connections(), 1, "{protocol} with {offered:?}");
            assert!(origin.seen.heads().iter().all(|head| head.headers["x-forwarded-proto"] == "http"));
        }
    }
}

#[tokio::test]
async fn a_service_that_does_not_speak_it_gets_no_request() {
    let origin = Origin::telling(Terms::default()).await;
    let server = server(origin.address, "", "");
    let answer = Client::new(server.address).post("/", &[], "once").await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "SERVICE_UNREACHABLE"));
    assert!(answer.text().contains("the service does not speak HTTP/2"), "{}", answer.text());
    assert!(origin.seen.heads().is_empty());
    let talking = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let server = self::server(talking.local_addr().expect("bound"), "", "");
    let asking = Client::new(server.address);
    let answering = async {
        let (mut stream, _) = talking.accept().await.expect("accepts");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.expect("written");
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        heard
    };
    let (answer, heard) = tokio::join!(asking.post("/", &[], "once"), answering);
    assert!(answer.text().contains("the service does not speak HTTP/2"), "{}", answer.text());
    assert!(!heard.windows(4).any(|window| window == b"once"), "it has seen the request");
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = silent.local_addr().expect("bound");
    let server = self::server(address, "connect_timeout = \"200ms\"", "");
    let answer = Client::new(server.address).get("/").await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "CONNECT_TIMEOUT"));
    assert!(
        answer.text().contains("did not begin to speak HTTP/2 within connect_timeout"),
        "{}",
        answer.text()
    );
}

/// A service that answers one request for each permit.
async fn gated(terms: Terms) -> (Origin, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let leave = Arc::clone(&gate);
    let origin = Origin::start(terms, move |_| {
        let leave = Arc::clone(&leave);
        async move {
            leave.acquire().await.expect("open").forget();
            Response::new(full("ok"))
        }
    })
    .await;
    (origin, gate)
}

/// Sends `calls` requests together; their statuses once `during` is over and they are let through.
async fn together(server: &Server, calls: usize, during: impl AsyncFnOnce()) -> Vec<u16> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..calls {
        let client = Client::new(server.address);
        tasks.spawn(async move { client.get("/").await.status });
    }
    during().await;
    let mut statuses = tasks.join_all().await;
    statuses.sort_unstable();
    statuses
}

#[tokio::test]
async fn connections_are_opened_as_streams_need_them() {
    // What the file allows, what the service allows, and the connections for 12 calls at a time.
    for (own, theirs, connections) in [(100, None, 1), (5, None, 3), (100, Some(4), 3), (6, Some(12), 2)] {
        let (origin, gate) = gated(Terms { streams_max: theirs, ..Terms::http2() }).await;
        let server = server(origin.address, &format!("http2 = {{ streams_max = {own} }}"), "");
        for _ in 0..2 {
            let seen = origin.seen.heads().len();
            let statuses = together(&server, 12, async || {
                until(async || origin.seen.heads().len() == seen + 12, "all are under way").await;
                gate.add_permits(12);
            })
            .await;
            assert_eq!(statuses, [200; 12]);
            assert_eq!(origin.seen.connections(), connections, "{own} and {theirs:?}");
        }
    }
}

#[tokio::test]
async fn when_all_connections_are_full_a_request_is_not_sent() {
    let (origin, gate) = gated(Terms::http2()).await;
    let bounds = "http2 = { streams_max = 2, connections_max = 2 }";
    let server = server(origin.address, bounds, "circuit_breaker = { preset = \"sensitive\", failures = 1 }");
    let statuses = together(&server, 4, async || {
        until(async || origin.seen.heads().len() == 4, "all are under way").await;
        let answer = Client::new(server.address).get("/").await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "SERVICE_UNREACHABLE"));
        let words =
            "as many are open as http2.connections_max allows, 2, and each is full; http2.streams_max is 2";
        assert!(answer.text().contains(words), "{}", answer.text());
        gate.add_permits(4);
    })
    .await;
    assert_eq!(statuses, [200; 4], "the breaker learned nothing");
    let exhausted = series("endpoint_connections_exhausted_total", origin.address);
    assert_eq!(server.metric(&exhausted).await, 1.0);
    gate.add_permits(1);
    assert_eq!(Client::new(server.address).get("/").await.status, 200);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let origin = Origin::telling(Terms::http2()).await;
    let server = server(origin.address, "idle_timeout = \"100ms\"", "");
    assert_eq!(Client::new(server.address).get("/").await.status, 200);
    until(async || origin.seen.open() == 0, "it is closed").await;
    assert_eq!(Client::new(server.address).get("/").await.status, 200);
    assert_eq!(origin.seen.connections(), 2);
}

/// A dead service is found by PING while a call waits for it, long before the call's own limit.
#[tokio::test]
async fn a_service_that_answers_no_ping_is_given_up() {
    let liar = Liar::start(&[Lie::Deaf]).await;
    let server = server(liar.address, "http2 = { ping_interval = \"100ms\", ping_timeout = \"200ms\" }", "");
    let started = Instant::now();
    let answer = Client::new(server.address).get("/").await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "SERVICE_SILENT"));
    assert_eq!(answer.header("proxy-status"), Some("intertie; error=connection_read_timeout"));
    assert!(started.elapsed() < Duration::from_secs(10), "the deadline is 30s: {:?}", started.elapsed());
    assert_eq!(Client::new(server.address).get("/").await.status, 200, "on a new connection");
    assert_eq!(liar.connections(), 2);
    // One that answers them is left alone.
    let slow = Liar::start(&[Lie::Frames(vec![])]).await;
    let server = self::server(slow.address, "http2 = { ping_interval = \"50ms\" }", "");
    let client = Client::new(server.address);
    let waiting = tokio::spawn(async move { client.get("/").await });
    until(async || slow.frames(PING).len() >= 4, "it is asked again and again").await;
    assert!(!waiting.is_finished());
    waiting.abort();
}

/// After an attempt without an answer the next one does not wait on the same dead connection.
#[tokio::test]
async fn a_connection_that_may_be_dead_carries_nothing_new() {
    let liar = Liar::start(&[Lie::Deaf]).await;
    let route = "retry = { preset = \"quick\", base = \"1ms\" }\nattempt_timeout = \"300ms\"";
    let server = server(liar.address, "", route);
    assert_eq!(Client::new(server.address).get("/").await.status, 200);
    assert_eq!(liar.connections(), 2);
}

/// The service would hear of another host than the one that was asked for.
#[tokio::test]
async fn a_host_that_http2_can_not_name_is_refused() {
    let origin = Origin::telling(Terms::http2()).await;
    let server = server(origin.address, "", "");
    let answer = Client::new(server.address).get_with("/", &[("host", "a%41.example")]).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "BAD_REQUEST"));
    assert!(answer.text().contains("can not be named in HTTP/2"), "{}", answer.text());
    assert!(origin.seen.heads().is_empty());
}

/// Answers are held to `headers_max` as they are over HTTP/1.1.
#[tokio::test]
async fn an_answer_with_too_many_headers_is_refused() {
    let with = |headers: usize| {
        let block = [&[0x88][..], &b"\x00\x01x\x01y".repeat(headers)].concat();
        let flags = frames::END_HEADERS | frames::END_STREAM;
        Lie::Frames(vec![frames::Frame::new(frames::HEADERS, flags, 0, &block)])
    };
    let liar = Liar::start(&[with(100), with(101)]).await;
    let server = server(liar.address, "", "");
    let client = Client::new(server.address).http2();
    assert_eq!(client.get("/").await.status, 200);
    let answer = client.get("/").await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "SERVICE_FAILED"));
    let refused = "intertie_messages_refused_total{from=\"service\",reason=\"headers_max\"}";
    assert_eq!(server.metric(refused).await, 1.0);
    server.wait_for("answer_refused");
    assert_eq!((client.get("/").await.status, liar.connections()), (200, 1));
}

/// Its socket too: what was written for it is read by nobody.
#[tokio::test]
async fn a_connection_to_a_service_that_ceased_to_read_is_closed() {
    const CALLS: usize = 6;
    let liar = Liar::start(&vec![Lie::Deaf; CALLS]).await;
    let server = server(liar.address, "http2 = { connections_max = 1 }", "attempt_timeout = \"200ms\"");
    let body = "x".repeat(32 << 20);
    for call in 1..=CALLS {
        let request = Request::post("/").body(full(body.clone())).expect("a request");
        // The answer may come to a client that still writes.
        let _ = Client::new(server.address).try_send(request).await;
        assert_eq!(liar.connections(), call);
    }
    assert_eq!(Client::new(server.address).get("/").await.status, 200);
    until(async || server.connections_to(liar.address) == 1, "one is open").await;
}

/// What may be dead and still carries something counts among `connections_max`.
#[tokio::test]
async fn a_connection_that_begins_nothing_new_counts_until_it_is_over() {
    let liar = Liar::start(&[Lie::Frames(vec![frames::Frame::ok(0)]), Lie::Frames(vec![])]).await;
    let route = "attempt_timeout = \"200ms\"\ndeadline = \"off\"";
    let server = server(liar.address, "http2 = { connections_max = 1 }", route);
    let mut client = Client::new(server.address).connect().await.expect("connects");
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    client.read_u8().await.expect("an answer that goes on");
    assert_eq!(Client::new(server.address).get("/").await.status, 504);
    let answer = Client::new(server.address).get("/").await;
    assert!(answer.text().contains("http2.connections_max"), "{}", answer.text());
    assert_eq!(liar.connections(), 1);
    drop(client);
    until(async || Client::new(server.address).get("/").await.status == 200, "its place is free").await;
}

#[tokio::test]
async fn windows_are_those_of_the_file() {
    let liar = Liar::start(&[]).await;
    let windows = "http2 = { stream_window = \"128KiB\", connection_window = \"512KiB\" }";
    let server = server(liar.address, windows, "");
    assert_eq!(Client::new(server.address).get("/").await.status, 200);
    let settings = liar.frames(SETTINGS);
    let initial_window = |payload: &[u8]| {
        let mut settings = payload.chunks(6);
        settings.find_map(|setting| {
            (setting[..2] == [0, 4]).then(|| u32::from_be_bytes(setting[2..].try_into().expect("4 bytes")))
        })
    };
    assert_eq!(initial_window(&settings[0].payload), Some(128 << 10));
    let updates = liar.frames(frames::WINDOW_UPDATE);
    let increment = u32::from_be_bytes(updates[0].payload[..].try_into().expect("4 bytes"));
    assert_eq!((updates[0].stream, 65_535 + increment), (0, 512 << 10));
}

/// A service without an end, and a client that does not read: what waits between them is bounded.
#[tokio::test]
async fn a_slow_reader_slows_the_service() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let origin = Origin::start(Terms::http2(), move |_| {
        let counter = Arc::clone(&counter);
        async move {
            let (sender, receiver) = mpsc::channel::<Bytes>(1);
            tokio::spawn(async move {
                while sender.send(Bytes::from(vec![b'x'; 16 << 10])).await.is_ok() {
                    counter.fetch_add(16 << 10, Ordering::SeqCst);
                }
            });
            Response::new(Pulled(receiver).boxed())
        }
    })
    .await;
    let server = server(origin.address, "", "deadline = \"off\"");
    let stream = Client::new(server.address).connect().await.expect("connects");
    stream.writable().await.expect("open");
    stream.try_write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("written");
    let mut before = 0;
    let still = async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = sent.load(Ordering::SeqCst);
        now > 0 && now == std::mem::replace(&mut before, now)
    };
    until(still, "the service can send no more").await;
    let waiting = sent.load(Ordering::SeqCst);
    assert!(waiting < 24 << 20, "{waiting} bytes are on their way to a client that reads none");
    assert!(server.peak_memory_kib() < 64 << 10, "{} KiB", server.peak_memory_kib());
}

/// A body that is made as it is asked for.
struct Pulled(mpsc::Receiver<Bytes>);

impl Body for Pulled {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A service that sends back what it gets as it gets it, trailers included.
async fn echo() -> Origin {
    Origin::start(Terms::http2(), |request: Request<hyper::body::Incoming>| async {
        let (sender, body) = channel();
        tokio::spawn(async move {
            let mut incoming = request.into_body();
            while let Some(Ok(frame)) = incoming.frame().await {
                if sender.send(frame).is_err() {
                    return;
                }
            }
        });
        Response::new(body)
    })
    .await
}

#[tokio::test]
async fn streams_go_both_ways_at_once_and_end_in_trailers() {
    let origin = echo().await;
    let server = server(origin.address, "", "deadline = \"off\"");
    let (sender, body) = channel();
    let request = Request::post("/").header("te", "trailers").body(body).expect("a request");
    let client = Client::new(server.address).http2();
    let mut answer = client.begin(request).await.expect("a head before the body's end");
    for round in 0..50 {
        let said = Bytes::from(format!("round {round}"));
        sender.send(Frame::data(said.clone())).expect("open");
        let frame = answer.body_mut().frame().await.expect("a frame").expect("whole");
        assert_eq!(frame.into_data().expect("data"), said, "the other side hears it while it may speak on");
    }
    sender.send(trailers("x-sum", "50")).expect("open");
    drop(sender);
    let rest = answer.into_body().collect().await.expect("whole");
    let expected: HeaderMap = trailers("x-sum", "50").into_trailers().expect("trailers");
    assert_eq!(rest.trailers(), Some(&expected));
}

/// A client that gives up, before the head or in the middle, by a reset or by closing, is heard by the service
/// as CANCEL.
#[tokio::test]
async fn a_client_that_gives_up_cancels_the_stream() {
    let begun = Lie::Frames(vec![frames::Frame::ok(0), frames::Frame::new(DATA, 0, 0, b"half")]);
    for lie in [Lie::Frames(vec![]), begun] {
        for (with_body, resets) in [(false, true), (true, true), (false, false), (true, false)] {
            let liar = Liar::start(std::slice::from_ref(&lie)).await;
            let server = server(liar.address, "", "deadline = \"off\"");
            let mut client = Client::new(server.address).connect().await.expect("connects");
            frames::begin(&mut client, with_body).await.expect("written");
            until(async || liar.requests() == 1, "the request is there").await;
            if with_body {
                until(async || !liar.frames(DATA).is_empty(), "its body has begun").await;
            }
            if resets {
                let reset = frames::Frame::new(RST_STREAM, 0, 1, &CANCEL.to_be_bytes());
                reset.write(&mut client).await.expect("written");
            } else {
                client.shutdown().await.expect("closed");
            }
            until(async || !liar.frames(RST_STREAM).is_empty(), "the service hears of it").await;
            assert_eq!(liar.frames(RST_STREAM)[0].payload, CANCEL.to_be_bytes());
            assert_eq!(Client::new(server.address).get("/").await.status, 200);
            assert_eq!(liar.connections(), 1, "the connection lives on");
        }
    }
}

/// A service that cancels in the middle of its answer is heard by the client so; what else it says is its failure.
#[tokio::test]
async fn a_service_that_cancels_is_heard_by_the_client() {
    for (code, heard) in [(CANCEL, CANCEL), (ENHANCE_YOUR_CALM, INTERNAL_ERROR)] {
        let begun =
            vec![frames::Frame::ok(0), frames::Frame::new(DATA, 0, 0, b"half"), frames::Frame::reset(code)];
        let liar = Liar::start(&[Lie::Frames(begun)]).await;
        let server = server(liar.address, "", "");
        let mut client = Client::new(server.address).connect().await.expect("connects");
        frames::begin(&mut client, true).await.expect("written");
        let reset = async {
            loop {
                let frame = frames::Frame::read(&mut client).await.expect("a frame");
                if frame.kind == RST_STREAM {
                    return frame.payload;
                }
            }
        };
        let payload = tokio::time::timeout(PATIENCE, reset).await.expect("in time");
        assert_eq!(payload, heard.to_be_bytes());
    }
}

/// Attempts that take too long end at the service as well.
#[tokio::test]
async fn an_attempt_that_is_over_cancels_its_stream() {
    let liar = Liar::start(&[Lie::Frames(vec![])]).await;
    let server = server(liar.address, "", "attempt_timeout = \"100ms\"");
    assert_eq!(Client::new(server.address).get("/").await.status, 504);
    until(async || !liar.frames(RST_STREAM).is_empty(), "the service hears of it").await;
    assert_eq!(liar.frames(RST_STREAM)[0].payload, CANCEL.to_be_bytes());
}

#[tokio::test]
async fn a_burst_opens_one_connection() {
    let origin = Origin::telling(Terms::http2()).await;
    let server = server(origin.address, "", "");
    let statuses = tokio::time::timeout(PATIENCE, together(&server, 60, async || {})).await.expect("in time");
    assert_eq!(statuses, [200; 60]);
    assert_eq!(origin.seen.connections(), 1);
}

#[tokio::test]
async fn no_tunnel_is_opened() {
    let origin = Origin::telling(Terms::http2()).await;
    let breaker = "circuit_breaker = { preset = \"sensitive\", failures = 1 }";
    let server = server(origin.address, "", breaker);
    for length in [0, 3] {
        let mut client = Client::new(server.address).connect().await.expect("connects");
        let head = format!(
            "CONNECT /a HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\nconnection: close\r\n\r\nabc"
        );
        client.write_all(&head.as_bytes()[..head.len() - 3 + length]).await.expect("written");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    }
    assert!(origin.seen.heads().is_empty());
    assert_eq!(Client::new(server.address).get("/").await.status, 200, "the breaker learned nothing");
}
