//! What a client may take.

use std::time::Duration;

use http::Method;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{API, Caller};
use crate::harness::{Client, Server, until};

fn limited(limits: &str) -> Server {
    Server::start_with(&format!("{API}[server.api_limits]\n{limits}\n"), "[queue.orders]\n")
}

#[tokio::test]
async fn a_body_above_its_bound_is_refused_whether_it_says_so_or_not() {
    let server = limited("body_bytes_max = \"1KiB\"");
    let caller = Caller::of(&server);
    let path = "/api/v1/queues/orders/messages";
    let large = caller.ask(Method::POST, path, &[], &"x".repeat(1025)).await;
    assert_eq!((large.status, large.code()), (413, "BODY_TOO_LARGE"));
    assert!(large.detail().contains("body_bytes_max"), "{large:?}");
    let mut stream = caller.0.connect().await.expect("connects");
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n800\r\n");
    stream.write_all(head.as_bytes()).await.expect("written");
    stream.write_all(&[b'x'; 0x800]).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer and the end");
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("BODY_TOO_LARGE"), "{answer}");
}

#[tokio::test]
async fn who_is_slow_is_not_waited_for() {
    let server = limited("header_timeout = \"100ms\"\nbody_timeout = \"100ms\"");
    let client = Client::new(server.api);
    for begun in ["", "P", "POST /api"] {
        let mut stream = client.connect().await.expect("connects");
        stream.write_all(begun.as_bytes()).await.expect("written");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP/1.1 2"), "{begun}");
    }
    let mut stream = client.connect().await.expect("connects");
    let head =
        b"POST /api/v1/queues/orders/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nabc";
    stream.write_all(head).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer and the end");
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_timeout"), "{answer}");
    // One that is idle after an answer is let go too.
    let mut stream = client.connect().await.expect("connects");
    stream.write_all(b"GET /api/v1/queues HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("written");
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("an end").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn connections_above_their_bound_are_closed_at_once() {
    let server = limited("connections_max = 2");
    let caller = Caller::of(&server);
    let (one, two) =
        (caller.0.connect().await.expect("connects"), caller.0.connect().await.expect("connects"));
    until(async || server.metric("intertie_api_connections").await == 2.0, "both are open").await;
    let mut third = caller.0.connect().await.expect("connects");
    let mut nothing = Vec::new();
    let _ = third.read_to_end(&mut nothing).await;
    assert!(nothing.is_empty());
    assert_eq!(server.metric("intertie_api_connections_refused_total").await, 1.0);
    drop((one, two));
    until(async || server.metric("intertie_api_connections").await == 0.0, "both are closed").await;
    assert_eq!(caller.get("/api/v1/queues").await.status, 200);
}

#[tokio::test]
async fn a_head_above_its_bound_is_refused() {
    let server = limited("header_bytes_max = \"8KiB\"");
    let caller = Caller::of(&server);
    let long = "x".repeat(9000);
    let answer = caller.0.send(super::request(Method::GET, "/api/v1/queues", &[("x-a", &long)], "")).await;
    assert_eq!(answer.status, 431);
    assert_eq!(caller.get("/api/v1/queues").await.status, 200);
}

#[tokio::test]
async fn who_does_not_read_is_let_go() {
    let server = limited("send_timeout = \"200ms\"");
    let caller = Caller::of(&server);
    let large = "x".repeat(900 << 10);
    for id in ["1", "2", "3", "4", "5", "6", "7"] {
        let event =
            format!(r#"{{"specversion":"1.0","id":"{id}","source":"/a","type":"T","data":"{large}"}}"#);
        let headers = [("content-type", "application/cloudevents+json")];
        let path = "/api/v1/queues/orders/messages";
        assert_eq!(caller.ask(Method::POST, path, &headers, &event).await.status, 201);
    }
    let mut stream = caller.0.connect().await.expect("connects");
    let head = b"GET /api/v1/queues/orders/messages HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(head).await.expect("written");
    until(async || server.metric("intertie_api_connections").await == 1.0, "it is open").await;
    until(async || server.metric("intertie_api_connections").await == 0.0, "it is let go").await;
    drop(stream);
}

#[tokio::test]
async fn a_connection_of_http2_that_comes_to_nothing_is_let_go() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let server = limited("header_timeout = \"200ms\"");
    let client = Client::new(server.api);
    let mut open = Vec::new();
    for begun in [&PREFACE[..2], &PREFACE[..20], PREFACE, &[PREFACE, SETTINGS].concat()] {
        let mut stream = client.connect().await.expect("connects");
        stream.write_all(begun).await.expect("written");
        open.push(stream);
    }
    until(async || server.metric("intertie_api_connections").await == 4.0, "they are open").await;
    until(async || server.metric("intertie_api_connections").await == 0.0, "they are let go").await;
}

#[tokio::test]
async fn a_preface_that_does_not_end_holds_up_no_end() {
    let mut server = limited("");
    let mut stream = Client::new(server.api).connect().await.expect("connects");
    stream.write_all(b"PRI * HTTP").await.expect("written");
    until(async || server.metric("intertie_api_connections").await == 1.0, "it is open").await;
    let began = std::time::Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn who_takes_no_answer_over_http2_is_let_go() {
    let server = limited("send_timeout = \"300ms\"");
    let caller = Caller::of(&server);
    let large = "x".repeat(200 << 10);
    let event = format!(r#"{{"specversion":"1.0","id":"1","source":"/a","type":"T","data":"{large}"}}"#);
    let headers = [("content-type", "application/cloudevents+json")];
    let path = "/api/v1/queues/orders/messages";
    assert_eq!(caller.ask(Method::POST, path, &headers, &event).await.status, 201);
    let stream = caller.0.connect().await.expect("connects");
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1000)
        .handshake(TokioIo::new(stream))
        .await
        .expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let uri = format!("http://{}{path}", server.api);
    let answer = sender.send_request(super::request(Method::GET, &uri, &[], "")).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    // It answers every ping and reads nothing of the body.
    until(async || connection.is_finished(), "it is let go").await;
    drop(answer);
}
