//! Calls at the same time.

use super::*;

#[tokio::test]
async fn the_bulkhead_runs_some_queues_some_and_rejects_the_rest() {
    let (origin, gate) = gated().await;
    let server = Server::start(&one(&origin, r#"bulkhead = { concurrent = 2, queue = 1, wait = "10s" }"#));
    let call = || {
        let client = Client::new(server.address);
        tokio::spawn(async move { client.get("/").await.status })
    };
    let first = [call(), call(), call()];
    until(
        async || server.metric("intertie_bulkhead_waiting{service=\"origin\"}").await >= 1.0,
        "a call holds or awaits a place",
    )
    .await;
    let fourth = Client::new(server.address).get("/").await;
    assert_eq!((fourth.status, fourth.code().as_str()), (503, "BULKHEAD_FULL"));
    assert_eq!(fourth.header("retry-after"), Some("10"));
    gate.add_permits(3);
    for call in first {
        assert_eq!(call.await.expect("no panic"), 200);
    }
    assert_eq!(server.metric("intertie_bulkhead_running{service=\"origin\"}").await, 0.0);
}

#[tokio::test]
async fn a_wait_in_the_queue_ends() {
    let (origin, gate) = gated().await;
    let server = Server::start(&one(&origin, r#"bulkhead = { concurrent = 1, queue = 1, wait = "50ms" }"#));
    let client = Client::new(server.address);
    let held = tokio::spawn(async move { client.get("/").await.status });
    until(
        async || server.metric("intertie_bulkhead_running{service=\"origin\"}").await >= 1.0,
        "a call holds or awaits a place",
    )
    .await;
    assert_eq!(Client::new(server.address).get("/").await.code(), "BULKHEAD_FULL");
    gate.add_permits(1);
    assert_eq!(held.await.expect("no panic"), 200);
}
