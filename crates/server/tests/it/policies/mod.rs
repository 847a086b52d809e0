//! Each policy, seen to act through the gateway, alone and together.

mod bulkhead;
mod rate_limiter;
mod retry;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::harness::{Client, Origin, Reply, Server, answer, until};

/// One route `/**` to one service with `policy` as the route's own keys.
fn one(origin: &Origin, policy: &str) -> String {
    format!(
        "[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n[route.\"/**\"]\nto = \"origin\"\n{policy}\n",
        origin.address
    )
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_ended_and_retried() {
    let first = AtomicU32::new(0);
    let origin = Origin::start(move |_| {
        let first = first.fetch_add(1, Ordering::Relaxed) == 0;
        async move { if first { Reply::Hang } else { answer(200, &[], "second") } }
    })
    .await;
    let policy = "attempt_timeout = \"100ms\"\nretry = { attempts = 2, base = \"10ms\" }";
    let server = Server::start(&one(&origin, policy));
    assert_eq!(Client::new(server.address).get("/").await.text(), "second");
}

#[tokio::test]
async fn limits_end_calls_with_504_and_say_which() {
    let origin = Origin::start(|_| async { Reply::Hang }).await;
    let server = Server::start(&one(&origin, "attempt_timeout = \"50ms\""));
    let answer = Client::new(server.address).get("/").await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "ATTEMPT_TIMEOUT"));

    let server = Server::start(&one(&origin, "deadline = \"50ms\""));
    let answer = Client::new(server.address).get("/").await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "DEADLINE_EXCEEDED"));
}

#[tokio::test]
async fn a_callers_deadline_shortens_ours_and_is_handed_on() {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&one(&origin, "deadline = \"5s\"\nattempt_timeout = \"2s\""));
    let client = Client::new(server.address);
    client.get("/").await;
    client.get_with("/", &[("intertie-deadline", "700")]).await;
    client.get_with("/", &[("intertie-deadline", "700"), ("grpc-timeout", "300m")]).await;
    client.get_with("/", &[("intertie-deadline", "99999999")]).await;
    let left: Vec<u64> = origin
        .received()
        .iter()
        .map(|request| {
            request.headers["intertie-deadline"].to_str().expect("digits").parse().expect("a number")
        })
        .collect();
    for (left, most) in left.into_iter().zip([2_000, 700, 300, 2_000]) {
        assert!(left <= most && left > most - 200, "{left} of {most}");
    }
}

#[tokio::test]
async fn a_hurried_caller_does_not_open_the_breaker() {
    let origin = Origin::start(|_| async { Reply::Hang }).await;
    let policy = "circuit_breaker = { preset = \"sensitive\", failures = 1 }\ndeadline = \"5s\"";
    let server = Server::start(&one(&origin, policy));
    for _ in 0..3 {
        let answer = Client::new(server.address).get_with("/", &[("intertie-deadline", "20")]).await;
        assert_eq!(answer.code(), "DEADLINE_EXCEEDED");
    }
    assert_eq!(server.count("circuit_breaker_opened"), 0);
}

#[tokio::test]
async fn the_breaker_opens_rejects_probes_and_closes() {
    let well = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mood = Arc::clone(&well);
    let origin = Origin::start(move |_| {
        let status = if mood.load(Ordering::Relaxed) { 200 } else { 500 };
        async move { answer(status, &[], "") }
    })
    .await;
    let policy = r#"circuit_breaker = { preset = "sensitive", open = "1s" }"#;
    let server = Server::start(&one(&origin, policy));
    let client = Client::new(server.address);
    for _ in 0..5 {
        assert_eq!(client.get("/").await.status, 500);
    }
    let rejected = client.get("/").await;
    assert_eq!((rejected.status, rejected.code().as_str()), (503, "CIRCUIT_OPEN"));
    assert_eq!(rejected.header("retry-after"), Some("1"));
    assert_eq!(origin.received().len(), 5, "an open breaker keeps calls away");

    well.store(true, Ordering::Relaxed);
    let opened = Instant::now();
    while client.get("/").await.status != 200 {
        assert!(opened.elapsed() < Duration::from_secs(5), "the breaker never probes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..3 {
        client.get("/").await;
    }
    server.wait_for("circuit_breaker_closed");
    assert_eq!((server.count("circuit_breaker_opened"), server.count("circuit_breaker_half_opened")), (1, 1));
}

#[tokio::test]
async fn a_404_is_an_answer_and_no_failure() {
    let origin = Origin::statuses(&[404]).await;
    let server = Server::start(&one(&origin, r#"circuit_breaker = { preset = "sensitive", failures = 1 }"#));
    for _ in 0..5 {
        assert_eq!(Client::new(server.address).get("/").await.status, 404);
    }
    assert_eq!(server.count("circuit_breaker_opened"), 0);
}

/// An origin that answers when it is given leave, one request for each permit.
async fn gated() -> (Origin, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let leave = Arc::clone(&gate);
    let origin = Origin::start(move |_| {
        let leave = Arc::clone(&leave);
        async move {
            leave.acquire().await.expect("open").forget();
            answer(200, &[], "")
        }
    })
    .await;
    (origin, gate)
}

/// All together: a flaky endpoint, a limit, a budget and a breaker; callers of a well service see nothing.
#[tokio::test]
async fn policies_together_keep_a_flaky_endpoint_from_the_callers() {
    let number = AtomicU32::new(0);
    let flaky = Origin::start(move |_| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        async move {
            match number % 4 {
                0 => Reply::Close,
                1 => answer(503, &[], ""),
                2 => Reply::Hang,
                _ => answer(200, &[], ""),
            }
        }
    })
    .await;
    let well = Origin::statuses(&[200]).await;
    let traffic = format!(
        "[policy.standard]\nretry = {{ preset = \"quick\", base = \"5ms\", budget_minimum = 50 }}\n\
         circuit_breaker = \"sensitive\"\nattempt_timeout = \"100ms\"\n\
         bulkhead = {{ concurrent = 50, queue = 10, wait = \"100ms\" }}\n\
         rate_limiter = {{ limit = \"1000/s\" }}\n\n\
         [service.origin]\nendpoints = [{{ at = \"{}\" }}, {{ at = \"{}\" }}]\n\n\
         [route.\"/**\"]\nto = \"origin\"\nuse = \"standard\"\n",
        flaky.address, well.address
    );
    let server = Server::start(&traffic);
    let client = Client::new(server.address);
    for _ in 0..60 {
        assert_eq!(client.get("/").await.status, 200);
    }
    server.wait_for("circuit_breaker_opened");
    assert!(flaky.received().len() < 15, "{} calls went to the flaky endpoint", flaky.received().len());
}
