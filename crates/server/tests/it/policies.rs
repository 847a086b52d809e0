//! Each policy, seen to act through the gateway, alone and together.

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
async fn retry_mends_what_may_succeed_the_next_time() {
    let origin = Origin::statuses(&[503, 500, 200]).await;
    let server = Server::start(&one(&origin, r#"retry = { attempts = 3, base = "10ms" }"#));
    let answer = Client::new(server.address).get("/orders").await;
    assert_eq!((answer.status, answer.header("intertie-retry")), (200, None));
    let attempts: Vec<_> =
        origin.received().iter().map(|request| request.headers["intertie-attempt"].clone()).collect();
    assert_eq!(attempts, ["1", "2", "3"]);
    assert_eq!(server.metric(&retries(&origin)).await, 2.0);
}

fn retries(origin: &Origin) -> String {
    format!("intertie_retry_attempts_total{{service=\"origin\",endpoint=\"{}\"}}", origin.address)
}

#[tokio::test]
async fn retries_end_with_the_services_own_answer_marked_as_exhausted() {
    let origin = Origin::statuses(&[502]).await;
    let server = Server::start(&one(&origin, r#"retry = { attempts = 3, base = "10ms" }"#));
    let answer = Client::new(server.address).get("/").await;
    assert_eq!((answer.status, answer.text().as_str()), (502, "scripted"));
    assert_eq!(answer.header("intertie-retry"), Some("exhausted"));
    assert_eq!(origin.received().len(), 3);
}

#[tokio::test]
async fn an_answer_marked_as_exhausted_is_not_retried() {
    let origin = Origin::start(|_| async { answer(503, &[("intertie-retry", "exhausted")], "") }).await;
    let server = Server::start(&one(&origin, r#"retry = { attempts = 3, base = "10ms" }"#));
    let answer = Client::new(server.address).get("/").await;
    assert_eq!((answer.status, answer.header("intertie-retry")), (503, Some("exhausted")));
    assert_eq!(origin.received().len(), 1);
}

#[tokio::test]
async fn only_what_may_be_sent_twice_is_retried() {
    let origin = Origin::statuses(&[503]).await;
    let server = Server::start(&one(&origin, r#"retry = { attempts = 2, base = "10ms" }"#));
    let client = Client::new(server.address);
    assert_eq!(client.post("/", &[], "pay").await.status, 503);
    assert_eq!(origin.received().len(), 1, "a POST is not idempotent");
    client.post("/", &[("idempotency-key", "7")], "pay").await;
    let received = origin.received();
    assert_eq!(received.len(), 3, "with a key it may be sent again");
    assert!(received.iter().all(|request| request.body == "pay"), "its body too");
    for status in [400, 404, 409, 501] {
        let origin = Origin::statuses(&[status]).await;
        let server = Server::start(&one(&origin, r#"retry = { attempts = 2, base = "10ms" }"#));
        assert_eq!(Client::new(server.address).get("/").await.status, status);
        assert_eq!(origin.received().len(), 1, "{status} is permanent");
    }
}

#[tokio::test]
async fn a_body_longer_than_replay_body_max_is_sent_once() {
    let origin = Origin::statuses(&[503]).await;
    let policy = "retry = { attempts = 3, base = \"10ms\" }\nreplay_body_max = \"1KiB\"";
    let server = Server::start(&one(&origin, policy));
    let client = Client::new(server.address);
    client.post("/", &[("idempotency-key", "1")], &"x".repeat(1025)).await;
    assert_eq!(origin.received().len(), 1);
    client.post("/", &[("idempotency-key", "2")], &"x".repeat(1024)).await;
    let received = origin.received();
    assert_eq!(received.len(), 4);
    assert!(received[1..].iter().all(|request| request.body.len() == 1024));
}

#[tokio::test]
async fn a_hint_is_never_fired_early() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&times);
    let origin = Origin::start(move |_| {
        log.lock().expect("unpoisoned").push(Instant::now());
        async { answer(503, &[("retry-after", "1")], "") }
    })
    .await;
    let server = Server::start(&one(&origin, r#"retry = { attempts = 2, base = "10ms" }"#));
    Client::new(server.address).get("/").await;
    let times = times.lock().expect("unpoisoned");
    assert!(times[1] - times[0] >= Duration::from_secs(1), "{:?}", times[1] - times[0]);
}

#[tokio::test]
async fn a_retry_goes_to_another_endpoint_first() {
    let (bad, good) = (Origin::statuses(&[500]).await, Origin::statuses(&[200]).await);
    let traffic = format!(
        "[service.origin]\nendpoints = [{{ at = \"{}\" }}, {{ at = \"{}\" }}]\n\n\
         [route.\"/**\"]\nto = \"origin\"\nretry = {{ attempts = 2, base = \"10ms\" }}\n",
        bad.address, good.address
    );
    let server = Server::start(&traffic);
    for _ in 0..10 {
        assert_eq!(Client::new(server.address).get("/").await.status, 200);
    }
    assert!(!bad.received().is_empty());
    assert_eq!(good.received().len(), 10, "no call went to the bad endpoint twice");
}

#[tokio::test]
async fn a_budget_keeps_retries_to_their_share() {
    let origin = Origin::statuses(&[500]).await;
    let policy = r#"retry = { attempts = 3, base = "1ms", budget = "10%", budget_minimum = 5 }"#;
    let server = Server::start(&one(&origin, policy));
    for _ in 0..50 {
        Client::new(server.address).get("/").await;
    }
    let retries = origin.received().len() - 50;
    assert!((5..=10).contains(&retries), "{retries} retries; 5 + 10% of 50 are allowed");
    // A repetition by the caller pays for none of ours.
    let before = origin.received().len();
    for _ in 0..50 {
        Client::new(server.address).get_with("/", &[("intertie-attempt", "2")]).await;
    }
    assert_eq!(origin.received().len() - before, 50, "one attempt each");
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
async fn rate_limits_count_for_all_for_an_address_and_for_a_header() {
    let origin = Origin::statuses(&[200]).await;
    let codes = async |server: &Server, requests: &[(u8, &str)]| {
        let mut statuses = Vec::new();
        for (address, tenant) in requests {
            let client = Client::new(server.address).from([127, 0, 0, *address].into());
            statuses.push(client.get_with("/", &[("x-tenant", tenant)]).await.status);
        }
        statuses
    };
    let requests = [(2, "a"), (2, "a"), (3, "a"), (3, "b"), (2, "b")];
    for (by, expected) in [
        ("all", [200, 200, 429, 429, 429]),
        ("client_address", [200, 200, 200, 200, 429]),
        ("header:X-Tenant", [200, 200, 429, 200, 200]),
    ] {
        for algorithm in ["token_bucket", "sliding_window", "sliding_window_log", "fixed_window"] {
            let policy =
                format!("rate_limiter = {{ limit = \"2/h\", by = \"{by}\", algorithm = \"{algorithm}\" }}");
            let server = Server::start(&one(&origin, &policy));
            assert_eq!(codes(&server, &requests).await, expected, "{by} {algorithm}");
        }
    }
    for (by, caller, expected) in [
        ("client_address", "127.0.0.2", [200, 200, 200, 429, 200]),
        ("header:X-Tenant", "a", [200, 200, 200, 200, 429]),
    ] {
        let overrides = format!("{{ \"{caller}\" = {{ limit = \"3/h\" }} }}");
        let policy = format!("rate_limiter = {{ limit = \"1/h\", by = \"{by}\", overrides = {overrides} }}");
        let server = Server::start(&one(&origin, &policy));
        assert_eq!(codes(&server, &requests).await, expected, "{by} {caller}");
    }
}

#[tokio::test]
async fn a_rejection_by_the_limiter_says_when_to_come_back() {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&one(&origin, r#"rate_limiter = { limit = "6/min", burst = 1 }"#));
    let client = Client::new(server.address);
    assert_eq!(client.get("/").await.status, 200);
    let rejected = client.get("/").await;
    assert_eq!((rejected.status, rejected.code().as_str()), (429, "RATE_LIMITED"));
    assert_eq!(rejected.header("retry-after"), Some("10"));
    assert_eq!(server.metric("intertie_rejections_total{route=\"/**\",policy=\"rate_limiter\"}").await, 1.0);
}

#[tokio::test]
async fn shared_limits_are_shared_and_routes_have_their_own() {
    let origin = Origin::statuses(&[200]).await;
    let traffic = format!(
        "[limit.provider]\nlimit = \"3/h\"\n\n[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n\
         [route.\"/a\"]\nto = \"origin\"\nlimits = [\"provider\"]\nrate_limiter = {{ limit = \"2/h\" }}\n\n\
         [route.\"/b\"]\nto = \"origin\"\nlimits = [\"provider\"]\nrate_limiter = {{ limit = \"2/h\" }}\n",
        origin.address
    );
    let server = Server::start(&traffic);
    let mut statuses = Vec::new();
    for path in ["/a", "/a", "/a", "/b", "/b"] {
        statuses.push(Client::new(server.address).get(path).await.status);
    }
    assert_eq!(statuses, [200, 200, 429, 200, 429]);
}

#[tokio::test]
async fn a_limiter_that_counts_attempts_counts_retries() {
    let origin = Origin::statuses(&[500]).await;
    let policy =
        "retry = { attempts = 5, base = \"1ms\" }\nrate_limiter = { limit = \"3/h\", count = \"attempts\" }";
    let server = Server::start(&one(&origin, policy));
    assert_eq!(Client::new(server.address).get("/").await.status, 500, "the call keeps what it had");
    assert_eq!(origin.received().len(), 3);
    assert_eq!(Client::new(server.address).get("/").await.status, 429);
}

/// What the threads admit together does not depend on their number.
#[tokio::test]
async fn one_process_has_one_state_whatever_the_number_of_threads() {
    let origin = Origin::statuses(&[200]).await;
    for threads in [1, 2, 4] {
        let keys = format!("threads = {threads}");
        let server = Server::start_with(&keys, &one(&origin, r#"rate_limiter = { limit = "20/h" }"#));
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..60 {
            let client = Client::new(server.address);
            calls.spawn(async move { client.get("/").await.status });
        }
        let admitted = calls.join_all().await.into_iter().filter(|status| *status == 200).count();
        assert_eq!(admitted, 20, "{threads} threads");
    }
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
