//! Which attempts the gateway repeats, and at whose expense.

use super::*;

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

/// The first attempt of each call fails, and its repetition hangs until it has leave.
#[tokio::test]
async fn a_repetition_that_finds_no_place_in_the_budget_is_not_made() {
    let gate = Arc::new(Semaphore::new(0));
    let leave = Arc::clone(&gate);
    let origin = Origin::start(move |request| {
        let leave = Arc::clone(&leave);
        async move {
            if request.headers["intertie-attempt"] == "1" {
                return answer(500, &[], "");
            }
            leave.acquire().await.expect("open").forget();
            answer(200, &[], "")
        }
    })
    .await;
    let policy = r#"retry = { attempts = 2, base = "1ms", budget_in_flight = 1 }"#;
    let server = Server::start(&one(&origin, policy));
    let client = Client::new(server.address);
    let repeated = tokio::spawn(async move { client.get("/").await.status });
    let in_flight = "intertie_retry_budget_in_flight{service=\"origin\"}";
    until(async || origin.received().len() == 2, "the repetition is under way").await;
    assert_eq!(server.metric(in_flight).await, 1.0);
    let refused = Client::new(server.address).get("/").await;
    assert_eq!((refused.status, refused.header("intertie-retry")), (500, Some("exhausted")));
    gate.add_permits(2);
    assert_eq!(repeated.await.expect("no panic"), 200);
    assert_eq!(server.metric(in_flight).await, 0.0);
    assert_eq!(Client::new(server.address).get("/").await.status, 200, "the place is free again");
}
