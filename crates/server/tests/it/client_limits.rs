//! `[server.client_limits]`, each key by what it changes for clients.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::corpus::recorder::Recorder;
use crate::harness::{Client, Server, until};
use crate::traffic::raw;

/// The service takes any number of headers.
async fn serving(limits: &str) -> (Recorder, Server) {
    let origin = Recorder::start().await;
    let server = Server::start(&format!(
        "[server.client_limits]\n{limits}\n[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n\
         [route.\"/**\"]\nto = \"origin\"\n",
        origin.address
    ));
    (origin, server)
}

fn request(target: usize, headers: usize, value: usize) -> String {
    let headers = format!("x: {}\r\n", "v".repeat(value)).repeat(headers);
    format!("GET /{} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n", "t".repeat(target - 1))
}

/// One request was refused for `reason`, which a counter and a line tell.
async fn check_told(server: &Server, reason: &str) {
    let line = server.wait_for("request_refused");
    assert!(line.contains("client=127.0.0.1") && line.contains(&format!("reason={reason}")), "{line}");
    let series = format!("intertie_messages_refused_total{{from=\"client\",reason=\"{reason}\"}}");
    until(async || server.metric(&series).await == 1.0, "it is counted").await;
}

/// A request within the limits passes, one above is refused with `status`, `code` and words, counted and told for
/// `reason`.
async fn check(limits: &str, within: &str, above: &str, refusal: [&str; 4]) {
    let (origin, server) = serving(limits).await;
    let passed = raw(&server, within).await;
    assert!(passed.starts_with("HTTP/1.1 200 "), "{limits}: {passed}");
    assert_eq!(origin.take().0.len(), 1);
    let refused = raw(&server, above).await;
    let [status, code, words, reason] = refusal;
    assert!(refused.starts_with(&format!("HTTP/1.1 {status} ")), "{limits}: {refused}");
    assert!(refused.contains(code) && refused.contains(words), "{limits}: {refused}");
    assert_eq!(origin.take(), (Vec::new(), Vec::new()));
    check_told(&server, reason).await;
}

#[tokio::test]
async fn a_target_is_as_long_as_its_limit_at_most() {
    let words = ["414", "URI_TOO_LONG", "the target is longer than uri_bytes_max, 100B", "uri_bytes_max"];
    check("uri_bytes_max = \"100B\"", &request(100, 1, 1), &request(101, 1, 1), words).await;
    let words = ["414", "URI_TOO_LONG", "uri_bytes_max, 8KiB", "uri_bytes_max"];
    check("", &request(8 << 10, 1, 1), &request((8 << 10) + 1, 1, 1), words).await;
}

#[tokio::test]
async fn a_head_is_as_long_as_its_limit_at_most() {
    let rest = request(1, 1, 0).len();
    for (limits, max, name) in
        [("header_bytes_max = \"1KiB\"\nuri_bytes_max = \"1B\"", 1 << 10, "1KiB"), ("", 32 << 10, "32KiB")]
    {
        let words = format!("the headers are longer than header_bytes_max, {name}");
        let refusal = ["431", "HEADERS_TOO_LARGE", &words, "header_bytes_max"];
        check(limits, &request(1, 1, max - rest), &request(1, 1, max - rest + 1), refusal).await;
    }
}

#[tokio::test]
async fn a_head_has_as_many_headers_as_its_limit_at_most() {
    for (limits, max) in [("headers_max = 3", 3), ("", 100), ("headers_max = 300", 300)] {
        let words = format!("there are more headers than headers_max, {max}");
        let refusal = ["431", "HEADERS_TOO_LARGE", &words, "headers_max"];
        check(limits, &request(1, max - 2, 1), &request(1, max - 1, 1), refusal).await;
    }
}

#[tokio::test]
async fn a_head_that_comes_drop_by_drop_is_answered_408() {
    let (origin, server) = serving("header_timeout = \"400ms\"").await;
    let mut stream = Client::new(server.address).connect().await.expect("connects");
    let (mut reading, mut writing) = stream.split();
    let started = Instant::now();
    let dripping = async {
        writing.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n").await.expect("written");
        loop {
            if writing.write_all(b"x: y\r\n").await.is_err() {
                return std::future::pending().await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut head = [0; 12];
    tokio::select! {
        read = reading.read_exact(&mut head) => { read.expect("an answer"); }
        () = dripping => {}
    }
    assert_eq!(&head, b"HTTP/1.1 408");
    assert!(started.elapsed() >= Duration::from_millis(400), "it had its time");
    assert_eq!(origin.take(), (Vec::new(), Vec::new()));
    check_told(&server, "header_timeout").await;
    let late = raw(&server, "GET / HTTP/1.1\r\nhost: a\r\n").await;
    let words = "the headers took longer than header_timeout, 400ms";
    assert!(late.contains("REQUEST_TIMEOUT") && late.contains(words), "{late}");
}

#[tokio::test]
async fn a_connection_is_idle_as_long_as_its_limit_at_most() {
    let (_origin, server) = serving("idle_timeout = \"300ms\"\nheader_timeout = \"300ms\"").await;
    let started = Instant::now();
    let answer = raw(&server, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let lived = started.elapsed();
    assert!((Duration::from_millis(300)..Duration::from_secs(10)).contains(&lived), "{lived:?}");
}

#[tokio::test]
async fn one_connection_more_than_the_limit_is_closed_at_once() {
    let here = std::net::IpAddr::from([127, 0, 0, 1]);
    let elsewhere = std::net::IpAddr::from([127, 0, 0, 2]);
    for (limits, limit, other_passes) in [
        ("connections_max = 2", "connections_max", false),
        ("connections_per_address_max = 2", "connections_per_address_max", true),
    ] {
        let (_origin, server) = serving(limits).await;
        let client = Client::new(server.address).from(here);
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut stream = client.connect().await.expect("connects");
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
            stream.read_u8().await.expect("an answer");
            held.push(stream);
        }
        let mut third = client.connect().await.expect("the kernel connects");
        let read = third.read_u8().await;
        assert!(read.is_err(), "{limits}: {read:?}");
        let line = server.wait_for("connection_refused");
        assert!(line.contains("client=127.0.0.1") && line.contains(&format!("limit={limit}")), "{line}");
        let series = format!("intertie_connections_refused_total{{limit=\"{limit}\"}}");
        assert_eq!(server.metric(&series).await, 1.0);
        let other = Client::new(server.address).from(elsewhere);
        let request = || http::Request::get("/").body(crate::harness::full("")).expect("a request");
        assert_eq!(other.try_send(request()).await.is_ok(), other_passes, "{limits}");
        drop(held);
        until(async || client.try_send(request()).await.is_ok(), "the places are given back").await;
    }
}

/// Any stranger can cause them: counters tell how many there were, the log tells once a second that there are.
#[tokio::test]
async fn a_flood_of_refusals_does_not_flood_the_log() {
    const FLOOD: usize = 40;
    let doubtful: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n";
    for (limits, said, event, series) in [
        (
            "connections_max = 1",
            &b""[..],
            "connection_refused",
            "intertie_connections_refused_total{limit=\"connections_max\"}",
        ),
        (
            "",
            doubtful,
            "request_refused",
            "intertie_messages_refused_total{from=\"client\",reason=\"folded_line\"}",
        ),
    ] {
        let (_origin, server) = serving(limits).await;
        let started = Instant::now();
        let mut first = Client::new(server.address).connect().await.expect("connects");
        first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
        first.read_u8().await.expect("an answer");
        for _ in 0..FLOOD {
            let mut other = Client::new(server.address).connect().await.expect("the kernel connects");
            let _ = other.write_all(said).await;
            let _ = other.read_to_end(&mut Vec::new()).await;
        }
        until(async || server.metric(series).await == FLOOD as f64, "all are counted").await;
        server.wait_for(event);
        // Each data thread tells it once in each second that began.
        let threads = std::thread::available_parallelism().expect("cores").get();
        let told_max = threads * (started.elapsed().as_secs() as usize + 1);
        let told = server.count(event);
        assert!(told <= told_max, "{event}: {told} of {FLOOD}");
    }
}
