//! Calls of gRPC: how they are answered, how long they may take, and what their status means.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::Frame;

use super::one;
use crate::harness::{Answer, Client, Origin, Reply, Server, answer};
use crate::traffic::channel;

const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc+proto"), ("te", "trailers")];

async fn call(client: &Client, headers: &[(&'static str, &str)]) -> Answer {
    client.post("/shop.Orders/Get", &[&GRPC[..], headers].concat(), "message").await
}

/// What a gRPC client reads of an answer that the gateway gave itself.
fn status(answer: &Answer) -> (&str, &str, Option<&str>) {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/grpc")), "{answer:?}");
    assert!(answer.body.is_empty() && answer.trailers.is_none(), "{answer:?}");
    assert_eq!(answer.header("retry-after"), None);
    assert!(answer.header("x-request-id").is_some());
    let said = |name| answer.header(name).expect(name);
    (said("grpc-status"), said("grpc-message"), answer.header("grpc-retry-pushback-ms"))
}

/// A service whose answers end with this `grpc-status`.
async fn ending(code: &'static str) -> Origin {
    Origin::start(move |_| async move {
        let (sender, body) = channel();
        sender.send(Frame::data(Bytes::from_static(b"message"))).expect("listens");
        let trailers: HeaderMap =
            [(HeaderName::from_static("grpc-status"), HeaderValue::from_static(code))].into_iter().collect();
        sender.send(Frame::trailers(trailers)).expect("listens");
        let mut response = Response::new(body);
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        response.headers_mut().insert("trailer", HeaderValue::from_static("grpc-status"));
        Reply::Answer(response)
    })
    .await
}

#[tokio::test]
async fn refusals_are_answered_with_a_status_of_grpc() {
    let origin = Origin::statuses(&[200]).await;
    let limited = Server::start(&one(&origin, "rate_limiter = { limit = \"6/min\", burst = 1 }"));
    let elsewhere = Server::start(&one(&origin, "").replace("/**", "GET /elsewhere"));
    let narrow = Server::start(&one(&origin, "body_max = \"1B\""));
    let other = Server::start(&one(&origin, "").replace("/**", "GET /**"));
    for client in [Client::new, |to| Client::new(to).http2()] {
        let rejected = async |server: &Server| call(&client(server.address), &[]).await;
        let _first = rejected(&limited).await;
        let refused = rejected(&limited).await;
        let (code, message, pushback) = status(&refused);
        assert_eq!((code, message), ("8", "rate_limiter rejected the call at its bound `limit`"));
        let pushback: u32 = pushback.expect("a wait").parse().expect("milliseconds");
        assert!((1..=10_000).contains(&pushback), "{pushback}");
        let unknown = rejected(&elsewhere).await;
        assert_eq!(status(&unknown), ("12", "no route wants this host and path", None));
        let large = rejected(&narrow).await;
        assert_eq!(status(&large), ("8", "the body is longer than body_max, 1 bytes", None));
        let method = rejected(&other).await;
        assert_eq!(status(&method), ("12", "this path takes GET", None));
    }
    assert_eq!(limited.metric("intertie_requests_total{route=\"/**\",status=\"4xx\"}").await, 3.0);
}

#[tokio::test]
async fn services_that_fail_are_unavailable_and_deadlines_their_own_status() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = gone.local_addr().expect("bound");
    drop(gone);
    let traffic = format!(
        "[service.gone]\nendpoints = [{{ at = \"{address}\" }}]\n[route.\"/**\"]\nto = \"gone\"\n\
         retry = {{ attempts = 2, base = \"1ms\", cap = \"1ms\" }}\n"
    );
    let server = Server::start(&traffic);
    let unreachable = call(&Client::new(server.address).http2(), &[]).await;
    let (code, message, pushback) = status(&unreachable);
    assert_eq!((code, pushback), ("14", Some("-1")), "tried twice here, so the client must not");
    assert!(message.starts_with("no connection to the service: "), "{message}");
    assert_eq!(unreachable.header("intertie-retry"), Some("exhausted"));

    let hanging = Origin::start(|_| async { Reply::Hang }).await;
    let server = Server::start(&one(&hanging, "deadline = \"20s\""));
    let late = call(&Client::new(server.address).http2(), &[("grpc-timeout", "150000u")]).await;
    assert_eq!(status(&late), ("4", "the deadline of the call is over", None));
    let timed = Server::start(&one(&hanging, "attempt_timeout = \"50ms\""));
    assert_eq!(status(&call(&Client::new(timed.address), &[]).await).0, "14");
}

#[tokio::test]
async fn the_content_type_is_that_of_grpc_web_where_it_came_so() {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&one(&origin, "").replace("/**", "/elsewhere"));
    let client = Client::new(server.address);
    for (asked, answered, code) in [
        ("application/grpc-web+proto", "application/grpc-web", 200),
        ("application/grpc-web-text", "application/grpc-web-text", 200),
        ("application/grpcish", "application/json", 404),
    ] {
        let refused = client.post("/", &[("content-type", asked)], "").await;
        assert_eq!((refused.status, refused.header("content-type")), (code, Some(answered)), "{asked}");
    }
}

#[tokio::test]
async fn what_is_left_of_the_time_is_told_as_grpc_tells_it() {
    let origin = ending("0").await;
    let server = Server::start(&one(&origin, "deadline = \"5s\"\nattempt_timeout = \"2s\""));
    let client = Client::new(server.address).http2();
    let told = async |headers: &[(&'static str, &str)]| {
        let answered = call(&client, headers).await;
        assert_eq!(answered.trailers.expect("trailers")["grpc-status"], "0");
        let received = origin.received().pop().expect("a call");
        assert_eq!(received.headers.get("intertie-deadline"), None);
        let timeout = received.headers["grpc-timeout"].to_str().expect("ASCII").to_owned();
        timeout.strip_suffix('m').expect("milliseconds").parse::<u64>().expect("digits")
    };
    for (headers, most) in [
        (&[][..], 2_000),
        (&[("grpc-timeout", "1S")], 1_000),
        (&[("grpc-timeout", "1H")], 2_000),
        (&[("grpc-timeout", "700m"), ("intertie-deadline", "9000")], 700),
        (&[("grpc-timeout", "700m"), ("intertie-deadline", "400")], 400),
        (&[("grpc-timeout", "soon")], 2_000),
    ] {
        let left = told(headers).await;
        assert!((most / 2..=most).contains(&left), "{headers:?}: {left}");
    }
    let plain = client.post("/", &[("grpc-timeout", "1S")], "").await;
    assert_eq!(plain.status, 200);
    let received = origin.received().pop().expect("a call");
    let left: u64 = received.headers["intertie-deadline"].to_str().expect("ASCII").parse().expect("digits");
    assert!((500..=1_000).contains(&left), "no gRPC: {left}");
}

#[tokio::test]
async fn a_status_in_the_trailers_opens_the_breaker() {
    let breaker = "circuit_breaker = { preset = \"sensitive\", failures = 2, open = \"1min\" }";
    for (code, opens) in [("14", true), ("13", true), ("5", false), ("8", false), ("0", false)] {
        let origin = ending(code).await;
        let server = Server::start(&one(&origin, breaker));
        let client = Client::new(server.address).http2();
        for _ in 0..2 {
            let answered = call(&client, &[]).await;
            assert_eq!(answered.trailers.expect("trailers")["grpc-status"], code);
        }
        let third = call(&client, &[]).await;
        assert_eq!(third.trailers.is_none(), opens, "{code}: {third:?}");
        if opens {
            let (code, _, pushback) = status(&third);
            assert_eq!((code, pushback.is_some()), ("14", true));
        }
        // Without gRPC the same trailers say nothing.
        let server = Server::start(&one(&origin, breaker));
        let client = Client::new(server.address).http2();
        for _ in 0..3 {
            assert_eq!(client.post("/", &[("te", "trailers")], "").await.status, 200);
        }
    }
}

#[tokio::test]
async fn a_status_in_the_head_is_tried_again_as_its_pushback_says() {
    let policy = "retry = { attempts = 3, base = \"1ms\", cap = \"1ms\" }";
    for (headers, attempts) in [
        (&[("grpc-status", "14")][..], 3),
        (&[("grpc-status", "14"), ("grpc-retry-pushback-ms", "-1")], 1),
        (&[("grpc-status", "5")], 1),
        (&[("grpc-status", "0")], 1),
    ] {
        let origin = Origin::start(move |_| async move { answer(200, headers, "") }).await;
        let server = Server::start(&one(&origin, policy));
        let said = call(&Client::new(server.address).http2(), &[("idempotency-key", "7")]).await;
        assert_eq!(said.header("grpc-status"), Some(headers[0].1));
        let received = origin.received();
        let previous: Vec<_> = received
            .iter()
            .map(|call| call.headers.get("grpc-previous-rpc-attempts").map(HeaderValue::as_bytes))
            .collect();
        assert_eq!(previous, [None, Some(&b"1"[..]), Some(b"2")][..attempts], "{headers:?}");
    }
}
