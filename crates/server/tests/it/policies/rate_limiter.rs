//! Calls per time.

use super::*;

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
async fn a_limit_that_grants_a_call_gets_it_back_when_another_refuses() {
    let origin = Origin::statuses(&[200]).await;
    let own = "rate_limiter = { limit = \"3/h\", by = \"header:X-Key\" }";
    let traffic = format!(
        "[limit.first]\nlimit = \"2/h\"\n\n[limit.second]\nlimit = \"1/h\"\n\n\
         [service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n\
         [route.\"/both\"]\nto = \"origin\"\n{own}\nlimits = [\"first\", \"second\"]\n\n\
         [route.\"/one\"]\nto = \"origin\"\nlimits = [\"first\"]\n",
        origin.address
    );
    let server = Server::start(&traffic);
    let client = Client::new(server.address);
    assert_eq!(client.get("/both").await.status, 200);
    for _ in 0..5 {
        let refused = client.get("/both").await;
        assert_eq!(refused.status, 429);
        assert!(refused.text().contains("[limit.second]"), "the one that refused: {}", refused.text());
    }
    assert_eq!(client.get("/one").await.status, 200, "the first lost nothing by those refused");
    let refused = client.get("/one").await;
    assert!(refused.text().contains("[limit.first]"), "{}", refused.text());
    let admitted = "intertie_rate_limiter_admitted_total{route=\"/both\",limit=\"\"}";
    assert_eq!(server.metric(admitted).await, 1.0, "nor did the route's own");
    for (limit, admitted, rejected) in [("first", 2.0, 1.0), ("second", 1.0, 5.0)] {
        let labels = format!("{{route=\"\",limit=\"{limit}\"}}");
        let counted = server.metric(&format!("intertie_rate_limiter_admitted_total{labels}")).await;
        assert_eq!(counted, admitted, "admitted by {limit}");
        let counted = server.metric(&format!("intertie_rate_limiter_rejected_total{labels}")).await;
        assert_eq!(counted, rejected, "rejected by {limit}");
    }
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

#[tokio::test]
async fn an_attempt_that_a_breaker_rejects_takes_nothing_from_a_quota_that_is_billed() {
    let origin = Origin::statuses(&[500]).await;
    let policy = "circuit_breaker = { failures = 1, minimum_calls = 0, open = \"1h\" }\n\
                  rate_limiter = { limit = \"2/h\", count = \"attempts\" }";
    let server = Server::start(&one(&origin, policy));
    let client = Client::new(server.address);
    assert_eq!(client.get("/").await.status, 500);
    for _ in 0..5 {
        assert_eq!(client.get("/").await.code(), "CIRCUIT_OPEN", "and never RATE_LIMITED");
    }
    let admitted = "intertie_rate_limiter_admitted_total{route=\"/**\",limit=\"\"}";
    assert_eq!(server.metric(admitted).await, 1.0);
}

/// A half-open breaker's only probe is called off by the limiter.
#[tokio::test]
async fn an_attempt_that_the_limiter_refuses_gives_its_place_at_the_breaker_back_and_is_not_counted() {
    let origin = Origin::statuses(&[500, 200]).await;
    let policy = "circuit_breaker = { failures = 1, minimum_calls = 0, open = \"10ms\", successes_to_close = 1 }\n\
                  rate_limiter = { limit = \"1/h\", by = \"header:X-Key\", count = \"attempts\" }";
    let server = Server::start(&one(&origin, policy));
    let get = async |key| Client::new(server.address).get_with("/", &[("x-key", key)]).await;
    assert_eq!(get("a").await.status, 500);
    until(async || get("a").await.code() == "RATE_LIMITED", "the breaker lets a probe through").await;
    assert_eq!(get("b").await.status, 200, "the place for a probe is free");
    let unjudged = format!(
        "intertie_attempts_total{{service=\"origin\",endpoint=\"{}\",outcome=\"unjudged\"}}",
        origin.address
    );
    assert_eq!(server.metric(&unjudged).await, 0.0);
    server.wait_for("circuit_breaker_closed");
}
