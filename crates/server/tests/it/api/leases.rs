//! One delivery, and its end.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use super::{Caller, start};
use crate::harness::until;

#[tokio::test]
async fn a_lease_is_settled_in_each_way_and_the_same_way_again() {
    let server = start("[queue.orders]\nredelivery = { base = \"1h\", cap = \"1h\" }\n");
    let caller = Caller::of(&server);
    for id in ["acked", "retried", "released", "dead"] {
        caller.stored("orders", id).await;
    }
    let leased = caller.take("orders").await;
    assert_eq!(leased.list()[0]["attributes"]["deliveries"], 1);
    let settlements = json!([
        { "lease": leased.lease(0), "outcome": "ack" },
        { "lease": leased.lease(1), "outcome": "retry", "after": "2s" },
        { "lease": leased.lease(2), "outcome": "release" },
        { "lease": leased.lease(3), "outcome": "dead_letter", "reason": "no such customer" },
    ]);
    for _ in 0..2 {
        let settled = caller.settle("orders", &settlements.to_string()).await;
        assert_eq!((settled.status, &settled.body["data"]["settled"]), (200, &json!(4)), "{settled:?}");
    }
    let released = caller.take("orders").await;
    assert_eq!(released.events(), ["released"]);
    assert_eq!(released.list()[0]["attributes"]["deliveries"], 1, "a release does not count");
    let wait = r#"{"consumer":"worker","wait":"10s"}"#;
    let retried = caller.lease("orders", wait).await;
    assert_eq!(retried.events(), ["retried"]);
    assert_eq!(retried.list()[0]["attributes"]["deliveries"], 2);
    let dead = caller.get("/api/v1/queues/orders/dead-letters").await;
    assert_eq!(dead.list()[0]["attributes"]["deadLetter"]["reason"], "no such customer");
}

#[tokio::test]
async fn a_lease_that_is_over_is_stale_and_a_batch_with_one_does_nothing() {
    let server = start("[queue.orders]\nredelivery = { base = \"1ms\", cap = \"1ms\" }\n");
    let caller = Caller::of(&server);
    caller.stored("orders", "a").await;
    caller.stored("orders", "b").await;
    let short = caller.lease("orders", r#"{"consumer":"slow","visibilityTimeout":"20ms"}"#).await;
    let stale = short.lease(0).to_owned();
    until(
        async || {
            let body = json!({ "lease": stale, "outcome": "ack" }).to_string();
            // It is extended by nobody, so it ends by itself; an ack before that would end it too.
            caller.depth("orders", "inFlight").await == 0
                && caller.settle("orders", &body).await.status == 409
        },
        "the lease ends",
    )
    .await;
    let leased = caller.lease("orders", r#"{"consumer":"worker","wait":"5s"}"#).await;
    let both = json!([
        { "lease": leased.lease(0), "outcome": "ack" },
        { "lease": stale, "outcome": "ack" },
    ]);
    let refused = caller.settle("orders", &both.to_string()).await;
    assert_eq!((refused.status, refused.code(), refused.pointer()), (409, "STALE_LEASE", "/1"));
    assert_eq!(caller.depth("orders", "inFlight").await, 1, "the other one is held still");
    let unknown = caller.settle("orders", r#"{"lease":"none","outcome":"ack"}"#).await;
    assert_eq!((unknown.status, unknown.code()), (409, "STALE_LEASE"));
}

#[tokio::test]
async fn an_extension_gives_a_lease_another_end() {
    let server = start("[queue.orders]\nvisibility_timeout_max = \"1h\"\n");
    let caller = Caller::of(&server);
    caller.stored("orders", "a").await;
    let leased = caller.take("orders").await;
    let path = format!("/api/v1/queues/orders/leases/{}", leased.lease(0));
    let extended = caller.ask(Method::PATCH, &path, &[], r#"{"visibilityTimeout":"1h"}"#).await;
    let (before, after) =
        (&leased.list()[0]["attributes"]["until"], &extended.body["data"]["attributes"]["until"]);
    assert!(before.as_str() < after.as_str(), "{before} {after}");
    let long = caller.ask(Method::PATCH, &path, &[], r#"{"visibilityTimeout":"2h"}"#).await;
    assert_eq!((long.status, long.code()), (400, "LIMIT_EXCEEDED"));
    assert!(long.detail().contains("visibility_timeout_max"), "{long:?}");
    let ended = caller.ask(Method::PATCH, &path, &[], r#"{"visibilityTimeout":"1ms"}"#).await;
    assert_eq!(ended.status, 200);
    until(async || caller.depth("orders", "inFlight").await == 0, "it ends").await;
    assert_eq!(
        caller.ask(Method::PATCH, &path, &[], r#"{"visibilityTimeout":"1s"}"#).await.code(),
        "STALE_LEASE"
    );
}

#[tokio::test]
async fn a_consumer_that_waits_gets_what_is_sent_then() {
    let server = start("[queue.orders]\n");
    let caller = Caller::of(&server);
    let waiting = caller.clone();
    let waits =
        tokio::spawn(async move { waiting.lease("orders", r#"{"consumer":"w","wait":"20s"}"#).await });
    until(async || caller.depth("orders", "consumers").await == 1, "it waits").await;
    caller.stored("orders", "a").await;
    assert_eq!(waits.await.expect("no panic").events(), ["a"]);
    let started = Instant::now();
    let empty = caller.lease("orders", r#"{"consumer":"w","wait":"50ms"}"#).await;
    assert!(empty.list().is_empty() && started.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_takes_nothing_with_it() {
    let server = start("[queue.orders]\n");
    let caller = Caller::of(&server);
    for client in [caller.0.clone(), caller.0.clone().http2()] {
        let path = "/api/v1/queues/orders/leases";
        let request = super::request(Method::POST, path, &[], r#"{"consumer":"gone","wait":"50s"}"#);
        let waits = tokio::spawn(async move { client.send(request).await });
        until(async || caller.depth("orders", "consumers").await == 1, "it waits").await;
        waits.abort();
        let _ = waits.await;
        until(async || caller.depth("orders", "consumers").await == 0, "its wait ends with it").await;
    }
    caller.stored("orders", "a").await;
    let leased = caller.take("orders").await;
    assert_eq!(leased.list()[0]["attributes"]["deliveries"], 1);
}

#[tokio::test]
async fn bytes_and_number_bound_what_is_leased_at_once() {
    let server = start("[queue.orders]\n");
    let caller = Caller::of(&server);
    for id in ["a", "b", "c"] {
        caller.stored("orders", id).await;
    }
    assert_eq!(caller.lease("orders", r#"{"consumer":"w","most":5,"bytesMax":"1B"}"#).await.events(), ["a"]);
    assert_eq!(caller.lease("orders", r#"{"consumer":"w"}"#).await.events(), ["b"]);
}
