//! Clients that send a body so slowly that each pause is short and the whole without end.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Played, chatting, client, pass, rest};
use crate::harness::{Server, until};

/// A long pause between two bytes beside one of these is a machine that is busy.
const PAUSE: Duration = Duration::from_millis(50);

fn start(log: &Path, limits: &str, traffic: &str) -> Server {
    let traffic = format!("[server.client_limits]\n{limits}\n{traffic}");
    Server::start_logging(log.to_str().expect("UTF-8"), &traffic)
}

/// Sends byte after byte until an answer comes, and reads it.
async fn drip(stream: &mut TcpStream) -> String {
    let mut began = [0];
    loop {
        if let Ok(read) = tokio::time::timeout(PAUSE, stream.read_exact(&mut began)).await {
            read.expect("an answer");
            let rest = rest(stream).await;
            return format!("{}{rest}", char::from(began[0]));
        }
        stream.write_all(b"x").await.expect("written");
    }
}

async fn check_logged(log: &Path, status: u16, code: &str) {
    let mut line = Value::Null;
    let is_there = async || {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        line = text.lines().next().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        !line.is_null()
    };
    until(is_there, "it is logged").await;
    let told = (&line["status"], &line["error"], &line["attempts"]);
    assert_eq!(told, (&status.into(), &code.into(), &1.into()), "{line}");
}

/// A service that answers before it has the body, and then is asked again, changes nothing of the client's bounds.
#[tokio::test]
async fn a_repetition_waits_no_longer_for_the_client() {
    let mut played = Played::start().await;
    let keys = "deadline = \"off\"\nattempt_timeout = \"off\"\nretry = { attempts = 2, base = \"1ms\" }";
    let limits = "[server.client_limits]\nbody_timeout = \"500ms\"\n";
    let server = Server::start(&format!("{limits}{}", chatting(played.address, keys)));
    let mut client = client(&server, &UPLOAD.replace("POST", "PUT")).await;
    client.write_all(b"begun").await.expect("written");
    let (mut service, _) = played.asked().await;
    service.write_all(b"HTTP/1.1 503 Later\r\ncontent-length: 0\r\n\r\n").await.expect("written");
    let (_service, _) = played.asked().await;
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("body_timeout"), "{answer}");
}

const UPLOAD: &str = "POST /up HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n";
const REFUSED: &str = "intertie_messages_refused_total{from=\"client\",reason=\"body_rate_min\"}";

#[tokio::test]
async fn the_deadline_ends_it() {
    let mut played = Played::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let keys = "deadline = \"1s\"\nattempt_timeout = \"off\"\nretry = { attempts = 3 }";
    let server = start(&log, "body_timeout = \"20s\"", &chatting(played.address, keys));
    let began = Instant::now();
    let mut client = client(&server, UPLOAD).await;
    let (_service, _) = played.asked().await;
    let answer = drip(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close\r\n"), "{answer}");
    assert!(answer.contains("the request body did not come in time"), "{answer}");
    assert!(began.elapsed() >= Duration::from_secs(1), "it had its time");
    check_logged(&log, 408, "REQUEST_TIMEOUT").await;
    let errors = "intertie_request_errors_total{route=\"/**\",error=\"REQUEST_TIMEOUT\"}";
    assert_eq!(server.metric(errors).await, 1.0);
    assert_eq!(server.metric(REFUSED).await, 0.0, "it was not the rate");
}

#[tokio::test]
async fn without_a_deadline_it_is_too_slow_in_the_end() {
    let mut played = Played::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let keys = "deadline = \"off\"\nattempt_timeout = \"off\"";
    let limits = "body_timeout = \"2s\"\nbody_rate_min = \"1KiB\"";
    let server = start(&log, limits, &chatting(played.address, keys));
    let began = Instant::now();
    let mut client = client(&server, UPLOAD).await;
    let (mut service, _) = played.asked().await;
    let answer = drip(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"REQUEST_TIMEOUT\""), "{answer}");
    assert!(answer.contains("the body came slower than body_rate_min, 1KiB a second"), "{answer}");
    assert!(began.elapsed() >= Duration::from_secs(2), "body_timeout is free: {:?}", began.elapsed());
    let sent = rest(&mut service).await;
    assert!(!sent.is_empty() && sent.len() < 1000, "the service got {} bytes, and is let go of", sent.len());
    let line = server.wait_for("request_refused");
    assert!(line.contains("client=127.0.0.1") && line.contains("reason=body_rate_min"), "{line}");
    assert_eq!(server.metric(REFUSED).await, 1.0);
    check_logged(&log, 408, "REQUEST_TIMEOUT").await;
}

#[tokio::test]
async fn a_client_that_is_quick_enough_may_take_as_long_as_it_likes() {
    let mut played = Played::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let keys = "deadline = \"off\"\nattempt_timeout = \"off\"";
    let limits = "body_timeout = \"2s\"\nbody_rate_min = \"10B\"";
    let server = start(&log, limits, &chatting(played.address, keys));
    let began = Instant::now();
    let mut client = client(&server, UPLOAD).await;
    let (mut service, _) = played.asked().await;
    while began.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(PAUSE).await;
        pass(&mut client, &mut service, "a hundred bytes a second would be enough for any line").await;
    }
    // Once it is answered nobody counts any more, as in a call of gRPC both ways.
    service.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await.expect("written");
    assert!(super::head(&mut client).await.starts_with("HTTP/1.1 200 "));
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    pass(&mut client, &mut service, "still here").await;
    assert_eq!(server.metric(REFUSED).await, 0.0);
}
