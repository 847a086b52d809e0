//! A new process on the same data directory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::Method;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;

use super::{API, Caller, start};
use crate::harness::{Client, Origin, Reply, Server, full, signal, until};

/// Sends on kept connections until told to stop, as a client does that heeds 503 and `Connection: close`; the number
/// of messages that were acknowledged. Any other answer, and any request that is not answered, is a panic.
async fn sends(client: Client, name: usize, stop: Arc<AtomicBool>, sent: Arc<AtomicU64>) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let stream = client.connect().await.expect("connects");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("handshake");
        tokio::spawn(connection);
        loop {
            let id = format!("{name}-{number}");
            let headers = [
                ("host", "localhost"),
                ("ce-specversion", "1.0"),
                ("ce-id", id.as_str()),
                ("ce-source", "/test"),
                ("ce-type", "Tested"),
            ];
            let request = super::request(Method::POST, "/api/v1/queues/orders/messages", &headers, "");
            let answer = sender.send_request(request).await.expect("an answer");
            let (parts, body) = answer.into_parts();
            body.collect().await.expect("the whole answer");
            match parts.status.as_u16() {
                201 => {
                    number += 1;
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                503 => assert!(parts.headers.contains_key("retry-after")),
                other => panic!("{other}"),
            }
            let closes = parts.headers.get("connection").is_some_and(|value| value == "close");
            if closes || stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takeovers_under_load_lose_no_message_and_store_none_twice() {
    let server = start("[queue.orders]\n");
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load: Vec<_> = (0..4)
        .map(|name| tokio::spawn(sends(Client::new(server.api), name, Arc::clone(&stop), Arc::clone(&sent))))
        .collect();
    let mut process = server.process();
    for n in 1..=3 {
        let before = sent.load(Ordering::Relaxed);
        until(async || sent.load(Ordering::Relaxed) > before + 20, "messages are sent").await;
        signal(process, "USR2");
        server.wait_for_nth("store_opened", n);
        let started = server.wait_for_nth("taken_over ", n);
        process = started.split_once("process=").expect("a process").1.trim().parse().expect("a number");
        server.wait_for_nth("server_started", n + 1);
    }
    let before = sent.load(Ordering::Relaxed);
    until(async || sent.load(Ordering::Relaxed) > before + 20, "messages are sent").await;
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("no request was lost");
    }
    let caller = Caller::of(&server);
    assert_eq!(caller.depth("orders", "ready").await, sent.load(Ordering::Relaxed));
    assert_eq!(server.admin("/health/ready").await.0, 200);
    signal(process, "TERM");
}

#[tokio::test]
async fn a_consumer_that_waits_is_let_go_and_its_leases_are_settled_by_the_new_process() {
    let server = start("[queue.orders]\n");
    let caller = Caller::of(&server);
    caller.stored("orders", "a").await;
    let leased = caller.take("orders").await;
    let waiting = caller.clone();
    let waits =
        tokio::spawn(async move { waiting.lease("orders", r#"{"consumer":"w","wait":"50s"}"#).await });
    until(async || caller.depth("orders", "consumers").await == 2, "it waits").await;
    server.signal("USR2");
    let started = server.wait_for("taken_over ");
    assert!(waits.await.expect("an answer").list().is_empty());
    let ack = serde_json::json!({ "lease": leased.lease(0), "outcome": "ack" }).to_string();
    let settled = caller.settle("orders", &ack).await;
    assert_eq!(settled.status, 200, "{settled:?}");
    let process: u32 = started.split_once("process=").expect("a process").1.trim().parse().expect("a number");
    signal(process, "TERM");
}

#[tokio::test]
async fn the_directory_changes_hands_while_the_old_process_has_other_clients_to_serve() {
    let gate = Arc::new(Semaphore::new(0));
    let leave = Arc::clone(&gate);
    let origin = Origin::start(move |_| {
        let leave = Arc::clone(&leave);
        async move {
            leave.acquire().await.expect("open").forget();
            Reply::Answer(http::Response::new(full("ok")))
        }
    })
    .await;
    let route = format!(
        "[queue.orders]\n[service.a]\nendpoints = [{{ at = \"{}\" }}]\n[route.\"/**\"]\nto = \"a\"\n",
        origin.address
    );
    let server = Server::start_with(API, &route);
    let client = Client::new(server.address);
    let slow = tokio::spawn(async move { client.get("/slow").await });
    until(async || origin.received().len() == 1, "the request arrives").await;
    let caller = Caller::of(&server);
    let stream = caller.0.connect().await.expect("connects");
    let (mut kept, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("handshake");
    tokio::spawn(connection);
    let get = || super::request(Method::GET, "/api/v1/queues/orders", &[("host", "localhost")], "");
    let answer = kept.send_request(get()).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.expect("a body");

    server.signal("USR2");
    let started = server.wait_for("taken_over ");
    server.wait_for("store_opened");
    caller.stored("orders", "new").await;
    gate.add_permits(1);
    assert_eq!(slow.await.expect("no panic").status, 200);
    // For its idle connection alone the old process stays, which has no directory: a request that were sent while it
    // ends would be lost.
    let answer = kept.send_request(get()).await.expect("an answer");
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["connection"], "close");
    assert!(answer.headers().contains_key("retry-after"));
    server.wait_for("server_stopped");
    let process: u32 = started.split_once("process=").expect("a process").1.trim().parse().expect("a number");
    signal(process, "TERM");
}
