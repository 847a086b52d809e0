//! Defects that were found once, each by what a user would have seen.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Client, Origin, Reply, Server, answer, full, until};
use crate::traffic::{channel, raw};

fn with(address: std::net::SocketAddr, policy: &str) -> String {
    format!(
        "[service.origin]\nendpoints = [{{ at = \"{address}\" }}]\n\n[route.\"/**\"]\nto = \"origin\"\n{policy}\n"
    )
}

/// A service that speaks raw TCP: `serve` gets each connection.
async fn raw_service<F, Fut>(serve: F) -> std::net::SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Reads up to the end of a head.
async fn head(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.is_ok_and(|n| n == 1) {
        read.push(byte[0]);
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// A service that answers before it has read the body must not get the body's tail as a whole request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_outgrew_what_is_kept_is_never_sent_again() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let address = raw_service(move |mut stream| {
        let seen = seen.clone();
        async move {
            let head = head(&mut stream).await;
            seen.send(head).expect("the test listens");
            let early = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(early.as_bytes()).await.expect("written");
            let mut rest = vec![0; 64 * 1024];
            while stream.read(&mut rest).await.is_ok_and(|n| n > 0) {}
        }
    })
    .await;
    let policy = "retry = { attempts = 3, base = \"300ms\" }\nreplay_body_max = \"64KiB\"";
    let server = Server::start(&with(address, policy));
    let (sender, body) = channel();
    sender.send(Frame::data(Bytes::from(vec![b'x'; 32 * 1024]))).expect("listens");
    let client = Client::new(server.address);
    let sending =
        tokio::spawn(async move { client.send(Request::put("/").body(body).expect("a request")).await });
    requests.recv().await.expect("the first attempt");
    // During the wait before the second attempt the rest arrives, more than is kept.
    for _ in 0..4 {
        sender.send(Frame::data(Bytes::from(vec![b'y'; 32 * 1024]))).expect("listens");
    }
    drop(sender);
    assert_eq!(sending.await.expect("no panic").status, 503);
    assert!(requests.try_recv().is_err(), "half a body was sent as a whole one");
}

/// A kept connection closes just as a POST goes out on it: whoever gets the POST gets all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_handed_back_keeps_its_headers_and_body() {
    let mut arrived = 0;
    for _ in 0..5 {
        let one = Origin::start(|_| async { answer(200, &[], "") }).await;
        let other = Origin::start(|_| async { answer(200, &[], "") }).await;
        let traffic = format!(
            "[service.origin]\nendpoints = [{{ at = \"{}\" }}, {{ at = \"{}\" }}]\n\n\
             [route.\"/**\"]\nto = \"origin\"\nretry = {{ attempts = 3, base = \"1ms\" }}\n",
            one.address, other.address
        );
        let server = Server::start_with("threads = 1", &traffic);
        let client = Client::new(server.address);
        for _ in 0..2 {
            client.get("/").await;
        }
        server.signal("STOP");
        let sending = tokio::spawn(async move {
            client
                .post("/pay", &[("authorization", "secret"), ("content-type", "text/plain")], "7 euros")
                .await
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let survivor = other;
        let address = one.address;
        drop(one);
        until(async || TcpStream::connect(address).await.is_err(), "the service is gone").await;
        server.signal("CONT");
        // 502 when the POST was already written: nobody knows then what the service made of it.
        assert!([200, 502].contains(&sending.await.expect("no panic").status));
        for post in survivor.received().iter().filter(|request| request.method == "POST") {
            assert_eq!(
                (post.headers["authorization"].as_bytes(), post.body.as_ref()),
                (&b"secret"[..], &b"7 euros"[..])
            );
            assert!(post.headers.contains_key("host"));
            arrived += 1;
        }
    }
    assert!(arrived > 0, "no POST reached the other service in five rounds");
}

/// A body without an end, as fast as it is asked for.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 64 << 10])))))
    }
}

/// A client that does not read must slow the service down, not fill our memory; and at its deadline it gives
/// back what it holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_costs_little_and_ends_at_its_deadline() {
    let origin = Origin::start(|request| async move {
        if request.path == "/" {
            return answer(200, &[], "");
        }
        Reply::Answer(Response::new(Endless.boxed()))
    })
    .await;
    let policy = "bulkhead = { concurrent = 1 }\ndeadline = \"4s\"\n\
                  circuit_breaker = { preset = \"sensitive\", failures = 1 }";
    let server = Server::start(&with(origin.address, policy));
    let mut stream = Client::new(server.address).connect().await.expect("connects");
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    let running = "intertie_bulkhead_running{service=\"origin\"}";
    until(async || server.metric(running).await == 1.0, "the place is taken").await;
    assert_eq!(Client::new(server.address).get("/").await.code(), "BULKHEAD_FULL");
    until(async || server.metric(running).await == 0.0, "the deadline frees the place").await;
    assert_eq!(Client::new(server.address).get("/").await.status, 200, "the service did its work");
    let memory = server.peak_memory_kib();
    assert!(memory < 128 * 1024, "{memory} KiB for a download that nobody reads");
}

/// An upload that goes on after its answer keeps its connection busy; others must not wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_still_uploads_is_not_given_to_another_request() {
    let address = raw_service(|mut stream| async move {
        loop {
            let head = head(&mut stream).await;
            if head.is_empty() {
                return;
            }
            let reply = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
            if stream.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let server = Server::start_with("threads = 1", &with(address, "attempt_timeout = \"5s\""));
    let (sender, body) = channel();
    sender.send(Frame::data(Bytes::from_static(b"begun"))).expect("listens");
    let client = Client::new(server.address);
    let uploading = client.begin(Request::post("/upload").body(body).expect("a request")).await;
    assert_eq!(uploading.expect("an early answer").status(), 401);
    let started = Instant::now();
    assert_eq!(client.get("/").await.status, 401);
    assert!(started.elapsed() < Duration::from_secs(3), "it waited for the upload");
    drop(sender);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_broken_uploads_say_nothing_about_the_service() {
    let origin = Origin::statuses(&[200]).await;
    let policy = "circuit_breaker = { preset = \"sensitive\", failures = 1 }\nattempt_timeout = \"200ms\"";
    let server = Server::start(&with(origin.address, policy));
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf";
    let client = Client::new(server.address);
    let mut slow = client.connect().await.expect("connects");
    slow.write_all(head.as_bytes()).await.expect("written");
    let mut told = vec![0; 12];
    slow.read_exact(&mut told).await.expect("an answer");
    assert_eq!(told, b"HTTP/1.1 408");
    let mut broken = client.connect().await.expect("connects");
    broken.write_all(head.as_bytes()).await.expect("written");
    drop(broken);
    let cancelled = "intertie_requests_total{route=\"/**\",status=\"none\"}";
    let finished = async || {
        server.metric(cancelled).await
            + server.metric("intertie_requests_total{route=\"/**\",status=\"4xx\"}").await
            >= 2.0
    };
    until(finished, "both are accounted for").await;
    assert_eq!(client.get("/").await.status, 200, "the breaker is closed");
}

#[tokio::test]
async fn a_half_open_breaker_closes_although_answers_stream_for_long() {
    let failures = std::sync::atomic::AtomicU32::new(0);
    let origin = Origin::start(move |_| {
        let number = failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move {
            if number == 0 {
                return answer(500, &[], "");
            }
            let (sender, body) = channel();
            sender.send(Frame::data(Bytes::from_static(b"first"))).expect("listens");
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(60)).await;
                drop(sender);
            });
            Reply::Answer(Response::new(body))
        }
    })
    .await;
    let policy = r#"circuit_breaker = { preset = "sensitive", failures = 1, open = "50ms" }"#;
    let server = Server::start(&with(origin.address, policy));
    let client = Client::new(server.address);
    assert_eq!(client.get("/").await.status, 500);
    let mut streams = Vec::new();
    until(
        async || {
            let request = Request::get("/").body(full("")).expect("a request");
            let response = client.begin(request).await.expect("a head");
            let closed = server.count("circuit_breaker_closed") == 1;
            streams.push(response);
            closed
        },
        "three good heads close it",
    )
    .await;
}

/// What comes after the head is the client's pace, or the length of a stream.
#[tokio::test]
async fn a_long_body_is_no_slow_call() {
    let origin = Origin::start(|_| async {
        let (sender, body) = channel();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(4)).await;
            let _ = sender.send(Frame::data(Bytes::from_static(b"last")));
        });
        Reply::Answer(Response::new(body))
    })
    .await;
    let policy =
        r#"circuit_breaker = { slow_call_duration = "3s", slow_call_rate = "1%", minimum_calls = 1 }"#;
    let server = Server::start(&with(origin.address, policy));
    let client = Client::new(server.address);
    let (one, other) = tokio::join!(client.get("/"), client.get("/"));
    assert_eq!((one.text(), other.text()), ("last".to_owned(), "last".to_owned()));
    assert_eq!(server.count("circuit_breaker_opened"), 0);
}

#[tokio::test]
async fn a_queue_that_used_the_time_up_does_not_open_the_breaker() {
    let origin = Origin::start(|_| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        answer(200, &[], "")
    })
    .await;
    let policy = "bulkhead = { concurrent = 1, queue = 9, wait = \"490ms\" }\ndeadline = \"500ms\"\n\
                  circuit_breaker = { preset = \"sensitive\", failures = 1 }";
    let server = Server::start(&with(origin.address, policy));
    let calls: Vec<_> = (0..2)
        .map(|_| {
            let client = Client::new(server.address);
            tokio::spawn(async move { client.get("/").await.status })
        })
        .collect();
    let mut statuses = Vec::new();
    for call in calls {
        statuses.push(call.await.expect("no panic"));
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 504]);
    assert_eq!(server.count("circuit_breaker_opened"), 0);
}

/// Load balancers and killed peers end idle connections with a reset instead of an orderly close.
#[tokio::test]
async fn a_kept_connection_that_is_reset_is_not_the_clients_problem() {
    let address = raw_service(|mut stream| async move {
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("written");
        head(&mut stream).await;
        stream.set_zero_linger().expect("a TCP socket");
    })
    .await;
    let policy = "circuit_breaker = { preset = \"sensitive\", failures = 1 }";
    let server = Server::start_with("threads = 1", &with(address, policy));
    for number in 0..20 {
        assert_eq!(Client::new(server.address).get("/").await.status, 200, "request {number}");
    }
    let series = format!("intertie_endpoint_resends_total{{service=\"origin\",endpoint=\"{address}\"}}");
    assert!(server.metric(&series).await > 0.0, "the second request is no secret");
}

#[tokio::test]
async fn a_get_may_have_a_body_without_a_length() {
    let origin =
        Origin::start(|request| async move { Reply::Answer(Response::new(full(request.body))) }).await;
    let server = Server::start(&with(origin.address, ""));
    let request = "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
                   4\r\nbody\r\n0\r\n\r\n";
    let echoed = raw(&server, request).await;
    assert!(echoed.starts_with("HTTP/1.1 200 ") && echoed.ends_with("body"), "{echoed}");
}

#[tokio::test]
async fn a_route_can_switch_the_breaker_off() {
    let origin = Origin::statuses(&[500]).await;
    let traffic = format!(
        "[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n\
         [route.\"/guarded\"]\nto = \"origin\"\ncircuit_breaker = {{ preset = \"sensitive\", failures = 1 }}\n\n\
         [route.\"/free\"]\nto = \"origin\"\ncircuit_breaker = \"off\"\n",
        origin.address
    );
    let server = Server::start(&traffic);
    let client = Client::new(server.address);
    client.get("/guarded").await;
    assert_eq!(client.get("/guarded").await.code(), "CIRCUIT_OPEN");
    assert_eq!(client.get("/free").await.text(), "scripted");
}

#[tokio::test]
async fn cookies_of_http2_arrive_as_one_header() {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&with(origin.address, ""));
    let request = Request::get("/").header("cookie", "a=1").header("cookie", "b=2").body(full(""));
    Client::new(server.address).http2().send(request.expect("a request")).await;
    let received = &origin.received()[0].headers;
    let cookies: Vec<_> = received.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
}

#[tokio::test]
async fn hosts_that_hide_another_host_are_refused() {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&with(origin.address, ""));
    for host in ["a:80@evil.example", "[::1]evil.example", "a:80:90/x", "a:x", "user@a", "a:123456"] {
        let answer =
            raw(&server, &format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{host}: {answer}");
    }
    for target in ["http://user:password@shop.example/", "http://user@shop.example/"] {
        let answer =
            raw(&server, &format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{target}: {answer}");
    }
    for host in ["a:80", "[::1]:80", "[::1]", "a.example."] {
        let answer =
            raw(&server, &format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
}

/// `Connection: idempotency-key` must not make a POST repeatable and then take the key away.
#[tokio::test]
async fn a_mark_that_connection_names_is_no_mark() {
    let origin = Origin::statuses(&[503]).await;
    let server = Server::start(&with(origin.address, "retry = { attempts = 3, base = \"1ms\" }"));
    let headers = [("connection", "idempotency-key"), ("idempotency-key", "7")];
    Client::new(server.address).post("/", &headers, "pay").await;
    assert_eq!(origin.received().len(), 1);
}

#[tokio::test]
async fn an_answer_with_trailers_is_complete_and_keeps_its_connection() {
    let origin = Origin::start(|_| async {
        let (sender, body) = channel();
        sender.send(Frame::data(Bytes::from_static(b"data"))).expect("listens");
        let sum = [(http::HeaderName::from_static("x-sum"), http::HeaderValue::from_static("7"))];
        sender.send(Frame::trailers(sum.into_iter().collect())).expect("listens");
        let mut response = Response::new(body);
        response.headers_mut().insert("trailer", http::HeaderValue::from_static("x-sum"));
        Reply::Answer(response)
    })
    .await;
    let server = Server::start_with("threads = 1", &with(origin.address, ""));
    for _ in 0..5 {
        let answer = Client::new(server.address).get_with("/", &[("te", "trailers")]).await;
        assert_eq!(answer.trailers.expect("trailers")["x-sum"], "7");
    }
    assert_eq!(server.metric("intertie_requests_cancelled_total{route=\"/**\"}").await, 0.0);
    let series =
        format!("intertie_endpoint_connections_total{{service=\"origin\",endpoint=\"{}\"}}", origin.address);
    assert_eq!(server.metric(&series).await, 1.0);
}

/// Connections that were made before the drain are answered, also those still in the accept queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_resets_nobody_who_was_connected() {
    let origin = Origin::statuses(&[200]).await;
    let mut server = Server::start(&with(origin.address, ""));
    server.signal("STOP");
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut stream = Client::new(server.address).connect().await.expect("queued");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("written");
        clients.push(stream);
    }
    server.signal("TERM");
    server.signal("CONT");
    for (number, mut stream) in clients.into_iter().enumerate() {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("no reset");
        assert!(answer.starts_with("HTTP/1.1 200 "), "client {number}: {answer}");
    }
    assert_eq!(server.wait(), Some(0));
}

/// What a tier gives up on after its budget refused a repetition is marked, also when it never got an answer.
#[tokio::test]
async fn a_refused_repetition_is_marked_as_exhausted() {
    let address = raw_service(|stream| async move { drop(stream) }).await;
    let policy = r#"retry = { attempts = 3, base = "1ms", budget = "1%", budget_minimum = 0 }"#;
    let server = Server::start(&with(address, policy));
    let answer = Client::new(server.address).get("/").await;
    assert_eq!((answer.status, answer.header("intertie-retry")), (502, Some("exhausted")));
}

/// A tier that ran out of time after it tried again has used up what retries can do.
#[tokio::test]
async fn a_deadline_after_retries_is_marked_as_exhausted() {
    let origin = Origin::start(|_| async { Reply::Hang }).await;
    let policy =
        "deadline = \"450ms\"\nattempt_timeout = \"200ms\"\nretry = { attempts = 3, base = \"10ms\" }";
    let server = Server::start(&with(origin.address, policy));
    let answer = Client::new(server.address).get("/").await;
    assert_eq!((answer.status, answer.header("intertie-retry")), (504, Some("exhausted")));
}

#[tokio::test]
async fn a_service_that_asks_for_too_long_a_wait_is_not_waited_for() {
    let origin = Origin::start(|_| async { answer(503, &[("retry-after", "2")], "") }).await;
    let policy = "deadline = \"off\"\nretry = { attempts = 3, base = \"1ms\", retry_after_max = \"1s\" }";
    let server = Server::start(&with(origin.address, policy));
    let answer = Client::new(server.address).get("/").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")));
    assert_eq!(origin.received().len(), 1);
}
