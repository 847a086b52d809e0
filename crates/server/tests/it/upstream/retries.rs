//! What was never seen is sent again whatever its method; what may have been seen only when that is safe.

use super::frames::{
    DATA, END_STREAM, ENHANCE_YOUR_CALM, Frame, HTTP_1_1_REQUIRED, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM,
};
use super::liar::{Liar, Lie};
use super::{before, series};
use crate::harness::{Client, Server, until};

const HTTP2: &str = "protocol = \"http2\"";
const RETRY: &str =
    "retry = { preset = \"quick\", base = \"1ms\" }\nattempt_timeout = \"5s\"\nreplay_body_max = \"1KiB\"";

fn refuse() -> Lie {
    Lie::Frames(vec![Frame::reset(REFUSED_STREAM)])
}

/// A server before a liar.
fn server(liar: &Liar, route: &str) -> Server {
    Server::start_with("threads = 1", &before(&[liar.address], HTTP2, route))
}

async fn outcome(server: &Server, liar: &Liar, outcome: &str) -> f64 {
    let labels = format!("service=\"origin\",endpoint=\"{}\",outcome=\"{outcome}\"", liar.address);
    server.metric(&format!("intertie_attempts_total{{{labels}}}")).await
}

/// A POST without a key is sent once more after each of these, and on no account after any of the others.
#[tokio::test]
async fn only_what_was_never_seen_is_repeated_whatever_its_method() {
    let reset = |code| Lie::Frames(vec![Frame::reset(code)]);
    let gone = |code| Lie::FramesAndClose(vec![Frame::go_away(0, code)]);
    for (lie, repeated, class, what) in [
        (refuse(), true, "unavailable", "REFUSED_STREAM"),
        (gone(NO_ERROR), true, "unjudged", "GOAWAY below it"),
        (gone(ENHANCE_YOUR_CALM), true, "throttled", "GOAWAY below it with an error"),
        (reset(INTERNAL_ERROR), false, "transient", "INTERNAL_ERROR"),
        (reset(NO_ERROR), false, "transient", "NO_ERROR"),
        (reset(ENHANCE_YOUR_CALM), false, "throttled", "ENHANCE_YOUR_CALM"),
        (reset(HTTP_1_1_REQUIRED), false, "permanent", "HTTP_1_1_REQUIRED"),
        (
            Lie::FramesAndClose(vec![Frame::go_away(1, NO_ERROR)]),
            false,
            "transient",
            "GOAWAY above it, then the end",
        ),
        (Lie::FramesAndClose(vec![]), false, "transient", "the end"),
        (Lie::Frames(vec![Frame::new(DATA, 0, 0, b"x")]), false, "transient", "a body before a head"),
    ] {
        let liar = Liar::start(&[lie]).await;
        let server = server(&liar, RETRY);
        let answer = Client::new(server.address).post("/", &[], "once").await;
        let expected = if repeated { (200, 2) } else { (502, 1) };
        assert_eq!((answer.status, liar.requests()), expected, "{what}: {}", answer.text());
        assert_eq!(outcome(&server, &liar, class).await, 1.0, "{what} is {class}");
        let unprocessed = server.metric(&series("endpoint_unprocessed_total", liar.address)).await;
        assert_eq!(unprocessed, f64::from(u8::from(repeated)), "{what}");
    }
}

#[tokio::test]
async fn what_may_have_been_seen_is_repeated_when_that_is_safe() {
    for code in [INTERNAL_ERROR, ENHANCE_YOUR_CALM] {
        let lie = Lie::Frames(vec![Frame::reset(code)]);
        let liar = Liar::start(&[lie.clone(), lie]).await;
        let server = server(&liar, RETRY);
        let client = Client::new(server.address);
        assert_eq!(client.get("/").await.status, 200);
        assert_eq!(liar.requests(), 3);
        let liar = Liar::start(&[Lie::Frames(vec![Frame::reset(code)])]).await;
        let server = self::server(&liar, RETRY);
        let client = Client::new(server.address);
        assert_eq!(client.post("/", &[("idempotency-key", "7")], "once").await.status, 200);
        assert_eq!(liar.requests(), 2);
    }
}

#[tokio::test]
async fn another_endpoint_comes_first() {
    let (one, other) = (Liar::start(&[refuse()]).await, Liar::start(&[refuse()]).await);
    let server = Server::start_with("threads = 1", &before(&[one.address, other.address], HTTP2, RETRY));
    assert_eq!(Client::new(server.address).post("/", &[], "once").await.status, 200);
    let mut seen = [one.requests(), other.requests()];
    seen.sort_unstable();
    assert_eq!(seen, [1, 2], "the third attempt goes where the first went");
}

#[tokio::test]
async fn the_budget_holds_for_what_was_never_seen() {
    let liar = Liar::start(&[refuse(), refuse(), refuse()]).await;
    let route = RETRY.replace("base", "budget = \"0%\", budget_minimum = 1, base");
    let server = server(&liar, &route);
    let answer = Client::new(server.address).post("/", &[], "once").await;
    assert_eq!((answer.status, liar.requests()), (502, 2));
    assert_eq!(answer.header("intertie-retry"), Some("exhausted"));
}

#[tokio::test]
async fn a_body_beyond_the_replay_limit_is_sent_once() {
    for (length, status) in [(1000, 200), (3000, 502)] {
        let after = |frame| Lie::After { first: vec![], bytes: length, then: vec![frame] };
        let script = [after(Frame::reset(REFUSED_STREAM)), after(Frame::ok(END_STREAM))];
        let liar = Liar::start(&script).await;
        let server = server(&liar, RETRY);
        let answer = Client::new(server.address).post("/", &[], &"x".repeat(length)).await;
        assert_eq!(answer.status, status, "{length}: {}", answer.text());
        let bytes: usize = liar.frames(DATA).iter().map(|frame| frame.payload.len()).sum();
        assert_eq!(
            bytes,
            if status == 200 { 2 * length } else { length },
            "the body is sent whole each time"
        );
    }
}

/// Closing a connection in order is the service's right: nobody notices, with `retry` or without.
#[tokio::test]
async fn a_connection_closed_in_order_costs_nothing() {
    let gone = Lie::FramesAndClose(vec![Frame::go_away(1, NO_ERROR)]);
    let liar = Liar::start(&[Lie::Answer, gone]).await;
    let server = server(&liar, "circuit_breaker = { preset = \"sensitive\", failures = 1 }");
    let client = Client::new(server.address);
    for _ in 0..4 {
        let answer =
            client.send(http::Request::post("/").body(crate::harness::full("")).expect("a request")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!((liar.connections(), liar.requests()), (2, 5));
    assert_eq!(server.metric(&series("endpoint_resends_total", liar.address)).await, 1.0);
}

/// What was begun before GOAWAY is brought to its end on the old connection; what comes then, on a new one.
#[tokio::test]
async fn a_connection_that_goes_away_ends_what_it_has_begun() {
    let last = Frame::new(DATA, END_STREAM, 0, b"whole");
    let first = vec![Frame::ok(0), Frame::go_away(1, NO_ERROR)];
    let liar = Liar::start(&[Lie::After { first, bytes: 3, then: vec![last] }]).await;
    let server = server(&liar, "");
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let body = http_body_util::BodyExt::boxed(crate::clients::Channel(receiver));
    let request = http::Request::post("/").body(body).expect("a request");
    let begun = Client::new(server.address).http2().begin(request).await.expect("a head");
    until(
        async || Client::new(server.address).get("/").await.status == 200 && liar.connections() == 2,
        "another",
    )
    .await;
    sender.send(http_body::Frame::data("end".into())).expect("open");
    let body = http_body_util::BodyExt::collect(begun.into_body()).await.expect("whole");
    assert_eq!(body.to_bytes(), "whole");
}

#[tokio::test]
async fn the_access_log_names_the_error_code() {
    let liar = Liar::start(&[
        Lie::Frames(vec![Frame::reset(INTERNAL_ERROR)]),
        Lie::Frames(vec![Frame::ok(0), Frame::new(DATA, 0, 0, b"half"), Frame::reset(ENHANCE_YOUR_CALM)]),
        Lie::Answer,
    ])
    .await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start_among(folder, &before(&[liar.address], HTTP2, ""));
    let client = Client::new(server.address).http2();
    let answer = client.get("/").await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "SERVICE_FAILED"));
    assert!(answer.text().contains("the service gave no answer: INTERNAL_ERROR"), "{}", answer.text());
    let request = http::Request::get("/").body(crate::harness::full("")).expect("a request");
    client.try_send(request).await.expect_err("the body breaks off");
    assert_eq!(client.get("/").await.status, 200);
    let log = server.folder.path().join("access.log");
    let lines =
        || std::fs::read_to_string(&log).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    until(async || lines().len() == 3, "each request has its line").await;
    let lines = lines();
    assert!(lines[0].contains("error=SERVICE_FAILED http2_error=INTERNAL_ERROR"), "{}", lines[0]);
    assert!(lines[1].contains("http2_error=ENHANCE_YOUR_CALM cut=service_broke_off"), "{}", lines[1]);
    assert!(!lines[2].contains("http2_error"), "{}", lines[2]);
    assert_eq!(outcome(&server, &liar, "throttled").await, 1.0);
}

/// The code of an attempt that is not the last is not that of the request.
#[tokio::test]
async fn an_answer_after_a_repetition_has_no_error_code() {
    let liar = Liar::start(&[refuse()]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start_among(folder, &before(&[liar.address], HTTP2, RETRY));
    assert_eq!(Client::new(server.address).get("/").await.status, 200);
    let log = server.folder.path().join("access.log");
    until(async || std::fs::read_to_string(&log).is_ok_and(|text| text.ends_with('\n')), "a line").await;
    let line = std::fs::read_to_string(&log).expect("a line");
    assert!(line.contains("attempts=2") && !line.contains("http2_error"), "{line}");
}

/// A service that answers before it has the whole request, and then refuses the rest, has answered.
#[tokio::test]
async fn an_early_answer_stands() {
    let early = vec![Frame::ok(END_STREAM), Frame::reset(NO_ERROR)];
    let liar = Liar::start(&[Lie::Frames(early)]).await;
    let server = server(&liar, RETRY);
    let answer = Client::new(server.address).post("/", &[], &"x".repeat(200_000)).await;
    assert_eq!((answer.status, liar.requests()), (200, 1), "{}", answer.text());
}
