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

#[tokio::test]
async fn an_adaptive_limit_follows_how_each_attempt_went() {
    for (statuses, latency_max, concurrent, limit) in [
        (&[200][..], "1h", 1, 2),
        (&[200], "1us", 10, 7),
        (&[503], "1h", 10, 6),
        (&[503, 503, 503, 200], "1h", 10, 7),
        (&[429], "1h", 10, 6),
        (&[500], "1h", 10, 10),
        (&[404], "1h", 10, 10),
    ] {
        let origin = Origin::statuses(statuses).await;
        let policy = format!(
            "bulkhead = {{ concurrent = {concurrent}, adaptive = {{ algorithm = \"aimd\", max = 10, \
             latency_max = \"{latency_max}\" }} }}\nretry = {{ attempts = 4, base = \"1ms\" }}"
        );
        let server = Server::start(&one(&origin, &policy));
        let client = Client::new(server.address);
        while origin.received().len() < 3 {
            client.get("/").await;
        }
        let found = server.metric("intertie_bulkhead_limit{service=\"origin\"}").await;
        assert_eq!(found, f64::from(limit), "{statuses:?} within {latency_max}");
    }
}

/// An attempt without an answer shows how slow the service is, unless the client left it no time.
#[tokio::test]
async fn an_adaptive_limit_falls_by_attempts_that_get_no_answer() {
    let origin = Origin::start(|_| async { Reply::Hang }).await;
    let adaptive = r#"{ algorithm = "aimd", max = 10, latency_max = "1ms" }"#;
    let policy =
        format!("attempt_timeout = \"50ms\"\nbulkhead = {{ concurrent = 10, adaptive = {adaptive} }}");
    let server = Server::start(&one(&origin, &policy));
    let client = Client::new(server.address);
    let limit = async || server.metric("intertie_bulkhead_limit{service=\"origin\"}").await;
    assert_eq!(client.get_with("/", &[("intertie-deadline", "20")]).await.code(), "DEADLINE_EXCEEDED");
    assert_eq!(limit().await, 10.0);
    assert_eq!(client.get("/").await.code(), "ATTEMPT_TIMEOUT");
    assert_eq!(limit().await, 9.0);
}

#[tokio::test]
async fn a_call_beyond_a_limit_that_fell_is_rejected() {
    let gate = Arc::new(Semaphore::new(0));
    let leave = Arc::clone(&gate);
    let first = AtomicU32::new(0);
    let origin = Origin::start(move |_| {
        let first = first.fetch_add(1, Ordering::Relaxed) == 0;
        let leave = Arc::clone(&leave);
        async move {
            if first {
                return answer(503, &[], "");
            }
            leave.acquire().await.expect("open").forget();
            answer(200, &[], "")
        }
    })
    .await;
    let adaptive = r#"{ algorithm = "aimd", max = 2, latency_max = "1h" }"#;
    let server =
        Server::start(&one(&origin, &format!("bulkhead = {{ concurrent = 2, adaptive = {adaptive} }}")));
    assert_eq!(Client::new(server.address).get("/").await.status, 503);
    let client = Client::new(server.address);
    let held = tokio::spawn(async move { client.get("/").await.status });
    until(async || origin.received().len() == 2, "the call is under way").await;
    assert_eq!(Client::new(server.address).get("/").await.code(), "BULKHEAD_FULL");
    gate.add_permits(1);
    assert_eq!(held.await.expect("no panic"), 200);
}
