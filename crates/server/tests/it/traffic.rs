//! Requests and answers on their way through, whatever the policies.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::harness::{AnyBody, Client, Origin, Reply, Server, answer, full, until};

/// One route `/**` without policies.
fn plain(origin: &Origin) -> String {
    with(origin, "")
}

fn with(origin: &Origin, policy: &str) -> String {
    format!(
        "[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n[route.\"/**\"]\nto = \"origin\"\n{policy}\n",
        origin.address
    )
}

/// A body that is sent as the channel brings it.
pub(crate) fn channel() -> (mpsc::UnboundedSender<Frame<Bytes>>, AnyBody) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let stream = futures_stream(move |context| receiver.poll_recv(context));
    (sender, StreamBody::new(stream).boxed())
}

/// A stream from a polling function, without a crate for it.
fn futures_stream<F>(poll: F) -> impl futures_core::Stream<Item = Result<Frame<Bytes>, std::io::Error>>
where
    F: FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<Frame<Bytes>>> + Unpin,
{
    struct Polled<F>(F);

    impl<F> futures_core::Stream for Polled<F>
    where
        F: FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<Frame<Bytes>>> + Unpin,
    {
        type Item = Result<Frame<Bytes>, std::io::Error>;

        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            (self.0)(context).map(|frame| frame.map(Ok))
        }
    }

    Polled(poll)
}

/// Sends raw bytes and reads until the server closes.
pub(crate) async fn raw(server: &Server, request: &str) -> String {
    let mut stream = Client::new(server.address).connect().await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
        .await
        .expect("the server closes")
        .expect("read");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn answers_stream_before_they_end() {
    let (sender, body) = channel();
    let body = std::sync::Mutex::new(Some(body));
    let origin = Origin::start(move |_| {
        let body = body.lock().expect("unpoisoned").take().expect("one request");
        async move { Reply::Answer(Response::new(body)) }
    })
    .await;
    let server = Server::start(&plain(&origin));
    let request = Request::get("/events").body(full("")).expect("a request");
    let sending = Client::new(server.address);
    sender.send(Frame::data(Bytes::from_static(b"first"))).expect("listens");
    let mut response = sending.begin(request).await.expect("a head before the body ends");
    let first = response.body_mut().frame().await.expect("a frame").expect("no error");
    assert_eq!(first.into_data().expect("data"), "first");
    sender.send(Frame::data(Bytes::from_static(b"second"))).expect("listens");
    let second = response.body_mut().frame().await.expect("a frame").expect("no error");
    assert_eq!(second.into_data().expect("data"), "second");
    drop(sender);
    assert!(response.body_mut().frame().await.is_none(), "the end passes too");
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let origin = Origin::start(|request| async move {
        let received = request.trailers.and_then(|trailers| trailers.get("x-sum").cloned());
        let (sender, body) = channel();
        sender.send(Frame::data(Bytes::from_static(b"data"))).expect("listens");
        let mut trailers = HeaderMap::new();
        trailers.insert("x-echo", received.unwrap_or_else(|| HeaderValue::from_static("none")));
        sender.send(Frame::trailers(trailers)).expect("listens");
        let mut response = Response::new(body);
        response.headers_mut().insert("trailer", HeaderValue::from_static("x-echo"));
        Reply::Answer(response)
    })
    .await;
    for policy in ["", r#"retry = "quick""#] {
        let server = Server::start(&with(&origin, policy));
        for client in [Client::new(server.address), Client::new(server.address).http2()] {
            let (sender, body) = channel();
            sender.send(Frame::data(Bytes::from_static(b"up"))).expect("listens");
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("7"));
            sender.send(Frame::trailers(trailers)).expect("listens");
            drop(sender);
            let request = Request::put("/").header("te", "trailers").header("trailer", "x-sum").body(body);
            let answer = client.send(request.expect("a request")).await;
            let trailers = answer.trailers.expect("trailers");
            assert_eq!((answer.body.as_ref(), trailers["x-echo"].as_bytes()), (&b"data"[..], &b"7"[..]));
        }
    }
}

#[tokio::test]
async fn large_bodies_pass_whole_in_both_directions() {
    let origin =
        Origin::start(|request| async move { Reply::Answer(Response::new(full(request.body))) }).await;
    let body: Vec<u8> = (0..8 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for policy in ["", r#"retry = "quick""#, "body_max = \"9MiB\""] {
        let server = Server::start(&with(&origin, policy));
        for client in [Client::new(server.address), Client::new(server.address).http2()] {
            let request = Request::put("/").body(full(body.clone())).expect("a request");
            let answer = client.send(request).await;
            assert!(answer.body == body, "{} bytes came back, {policy}", answer.body.len());
        }
    }
}

#[tokio::test]
async fn http2_clients_reach_http1_services() {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&plain(&origin));
    let answer = Client::new(server.address).http2().get("/orders?x=1").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "scripted"));
    let received = &origin.received()[0];
    assert_eq!(received.path, "/orders?x=1");
    assert_eq!(received.headers["host"], server.address.to_string().as_str());
}

#[tokio::test]
async fn services_learn_who_asks_and_clients_which_request_it_was() {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&plain(&origin));
    let client = Client::new(server.address).from([127, 0, 0, 9].into());
    let headers = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-request-id", "chosen-by-a-stranger"),
        ("x-correlation-id", "order-7"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("connection", "x-secret"),
        ("x-secret", "1"),
        ("keep-alive", "timeout=5"),
        ("host", "shop.example:8080"),
    ];
    let answer = client.get_with("/", &headers).await;
    let received = &origin.received()[0].headers;
    assert_eq!(received["x-forwarded-for"], "127.0.0.9");
    assert_eq!(received["x-forwarded-host"], "shop.example:8080");
    assert_eq!(received["host"], "shop.example:8080");
    assert_eq!(received["x-forwarded-proto"], "http");
    assert_eq!(received["x-correlation-id"], "order-7");
    assert_eq!(answer.header("x-request-id"), received["x-request-id"].to_str().ok());
    assert_ne!(received["x-request-id"], "chosen-by-a-stranger");
    let trace = received["traceparent"].to_str().expect("ASCII");
    assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && trace.ends_with("-01"), "{trace}");
    assert!(!trace.contains("00f067aa0ba902b7"), "a span of its own: {trace}");
    for gone in ["x-secret", "keep-alive", "connection"] {
        assert!(!received.contains_key(gone), "{gone}");
    }
}

#[tokio::test]
async fn hop_by_hop_headers_of_answers_end_here() {
    let origin = Origin::start(|_| async {
        answer(
            200,
            &[("keep-alive", "timeout=5"), ("x-kept", "1"), ("connection", "x-hop"), ("x-hop", "1")],
            "",
        )
    })
    .await;
    let server = Server::start(&plain(&origin));
    let answer = Client::new(server.address).get("/").await;
    assert_eq!(answer.header("x-kept"), Some("1"));
    assert!(answer.header("keep-alive").is_none() && answer.header("x-hop").is_none());
}

#[tokio::test]
async fn requests_that_no_route_wants_are_told_why() {
    let origin = Origin::statuses(&[200]).await;
    let traffic = format!(
        "[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n\
         [route.orders]\nmatch = {{ path = \"/orders\", method = [\"GET\", \"POST\"] }}\nto = \"origin\"\n",
        origin.address
    );
    let server = Server::start(&traffic);
    let client = Client::new(server.address);
    let answer = client.get("/nowhere").await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "ROUTE_NOT_FOUND"));
    let request = Request::delete("/orders").body(full("")).expect("a request");
    let answer = client.send(request).await;
    assert_eq!((answer.status, answer.code().as_str()), (405, "METHOD_NOT_ALLOWED"));
    assert_eq!(answer.header("allow"), Some("GET, POST"));
    for path in ["/orders/../admin", "/orders/%2e%2E/admin", "/a\\b", "/%zz", "/%"] {
        let answer =
            raw(&server, &format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
    }
    assert!(origin.received().is_empty());
}

#[tokio::test]
async fn a_request_names_exactly_one_host() {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&plain(&origin));
    for headers in ["", "host: a\r\nhost: b\r\n", "host: a/b\r\n", "host: a b\r\n"] {
        let answer = raw(&server, &format!("GET / HTTP/1.1\r\n{headers}connection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{headers:?}: {answer}");
    }
    let answer =
        raw(&server, "GET http://shop.example/x HTTP/1.1\r\nhost: other\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(origin.received()[0].headers["host"], "shop.example");
    assert_eq!(origin.received()[0].path, "/x");
}

#[tokio::test]
async fn garbage_is_answered_or_cut_off_and_harms_nobody() {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&plain(&origin));
    for garbage in
        ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"]
    {
        let answer = raw(&server, garbage).await;
        assert!(answer.is_empty() || !answer.contains(" 200 "), "{garbage:?}: {answer}");
    }
    assert_eq!(Client::new(server.address).get("/").await.status, 200);
}

#[tokio::test]
async fn bodies_above_the_limit_are_answered_413() {
    let origin = Origin::statuses(&[200]).await;
    for policy in ["body_max = \"1KiB\"", "body_max = \"1KiB\"\nretry = \"quick\""] {
        let server = Server::start(&with(&origin, policy));
        let client = Client::new(server.address);
        let declared = client.post("/", &[], &"x".repeat(1025)).await;
        assert_eq!((declared.status, declared.code().as_str()), (413, "BODY_TOO_LARGE"));
        let (sender, body) = channel();
        for _ in 0..3 {
            sender.send(Frame::data(Bytes::from(vec![b'x'; 400]))).expect("listens");
        }
        drop(sender);
        let chunked = client.send(Request::post("/").body(body).expect("a request")).await;
        assert_eq!((chunked.status, chunked.code().as_str()), (413, "BODY_TOO_LARGE"));
        assert_eq!(client.post("/", &[], &"x".repeat(1024)).await.status, 200);
    }
}

#[tokio::test]
async fn services_that_fail_are_told_apart() {
    let closing = Origin::start(|_| async { Reply::Close }).await;
    let server = Server::start(&plain(&closing));
    let answer = Client::new(server.address).get("/").await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "SERVICE_FAILED"));

    // Bound and not listened on, so that no other test's service can be there.
    let nobody = tokio::net::TcpSocket::new_v4().expect("a socket");
    nobody.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = nobody.local_addr().expect("bound");
    let server = Server::start(&format!(
        "[service.origin]\nendpoints = [{{ at = \"{address}\" }}]\n\n[route.\"/**\"]\nto = \"origin\"\n"
    ));
    let answer = Client::new(server.address).post("/", &[], "x").await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "SERVICE_UNREACHABLE"));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_cut_off_and_counts_as_a_failure() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        }
    });
    let traffic = format!(
        "[service.origin]\nendpoints = [{{ at = \"{address}\" }}]\n\n[route.\"/**\"]\nto = \"origin\"\n\
         circuit_breaker = {{ preset = \"sensitive\", failures = 2 }}\n"
    );
    let server = Server::start(&traffic);
    for _ in 0..2 {
        let request = Request::get("/").body(full("")).expect("a request");
        assert!(Client::new(server.address).try_send(request).await.is_err(), "half a body is no body");
    }
    server.wait_for("circuit_breaker_opened");
}

#[tokio::test]
async fn the_deadline_ends_a_body_that_never_does() {
    let origin = Origin::start(|_| async {
        let (sender, body) = channel();
        sender.send(Frame::data(Bytes::from_static(b"first"))).expect("listens");
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(sender);
        });
        Reply::Answer(Response::new(body))
    })
    .await;
    let server = Server::start(&with(&origin, "deadline = \"200ms\""));
    let started = std::time::Instant::now();
    let request = Request::get("/").body(full("")).expect("a request");
    assert!(Client::new(server.address).try_send(request).await.is_err());
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(server.metric("intertie_rejections_total{route=\"/**\",policy=\"deadline\"}").await, 1.0);
}

#[tokio::test]
async fn a_client_that_leaves_frees_everything_it_held() {
    let origin = Origin::start(|_| async { Reply::Hang }).await;
    let server =
        Server::start(&with(&origin, "bulkhead = { concurrent = 1 }\ncircuit_breaker = \"sensitive\""));
    for _ in 0..3 {
        let mut stream = Client::new(server.address).connect().await.expect("connects");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
        until(
            async || server.metric("intertie_bulkhead_running{service=\"origin\"}").await >= 1.0,
            "a call holds or awaits a place",
        )
        .await;
        drop(stream);
        until(
            async || server.metric("intertie_bulkhead_running{service=\"origin\"}").await <= 0.0,
            "the place is free again",
        )
        .await;
    }
    assert_eq!(server.metric("intertie_requests_cancelled_total{route=\"/**\"}").await, 3.0);
    assert_eq!(server.count("circuit_breaker_opened"), 0);
}

#[tokio::test]
async fn a_kept_connection_that_the_service_closed_is_not_the_clients_problem() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    // Says it keeps the connection, and closes it at once.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    });
    let traffic = format!(
        "[service.origin]\nendpoints = [{{ at = \"{address}\" }}]\n\n[route.\"/**\"]\nto = \"origin\"\n"
    );
    let server = Server::start_with("threads = 1", &traffic);
    for number in 0..200 {
        assert_eq!(Client::new(server.address).get("/").await.status, 200, "request {number}");
    }
}

#[tokio::test]
async fn head_and_bodyless_answers_pass_and_keep_the_connection() {
    let origin = Origin::start(|request| async move {
        match request.method.as_str() {
            "HEAD" => answer(200, &[("content-length", "5")], ""),
            _ => answer(204, &[], ""),
        }
    })
    .await;
    let server = Server::start_with("threads = 1", &plain(&origin));
    for _ in 0..5 {
        let request = Request::head("/").body(full("")).expect("a request");
        let answer = Client::new(server.address).send(request).await;
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("5")));
        assert_eq!(Client::new(server.address).get("/").await.status, 204);
    }
    let series =
        format!("intertie_endpoint_connections_total{{service=\"origin\",endpoint=\"{}\"}}", origin.address);
    assert_eq!(server.metric(&series).await, 1.0, "one connection carried all ten");
}
