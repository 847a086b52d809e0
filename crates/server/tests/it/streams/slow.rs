//! Clients that wait with what they owe, or do not take what is theirs.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::{Played, bytes, chatting, client, head, pass, rest, soon};
use crate::harness::{Server, until};

fn limited(limits: &str, address: std::net::SocketAddr) -> String {
    format!("[server.client_limits]\n{limits}\n{}", chatting(address, ""))
}

const UPLOAD: &str = "POST /up HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n";

#[tokio::test]
async fn a_body_that_pauses_for_too_long_is_answered_408() {
    let mut played = Played::start().await;
    let server = Server::start(&limited("body_timeout = \"500ms\"", played.address));
    let started = Instant::now();
    let mut client = client(&server, &format!("{UPLOAD}abc")).await;
    let (mut service, _) = played.asked().await;
    assert_eq!(bytes(&mut service, 3).await, b"abc");
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close\r\n"), "{answer}");
    assert!(answer.contains("REQUEST_TIMEOUT"), "{answer}");
    assert!(answer.contains("the body paused for longer than body_timeout, 500ms"), "{answer}");
    assert!(started.elapsed() >= Duration::from_millis(500), "it had its time");
    assert_eq!(rest(&mut service).await, "", "the service is let go of");
    let line = server.wait_for("request_refused");
    assert!(line.contains("client=127.0.0.1") && line.contains("reason=body_timeout"), "{line}");
    let series = "intertie_messages_refused_total{from=\"client\",reason=\"body_timeout\"}";
    assert_eq!(server.metric(series).await, 1.0);
}

#[tokio::test]
async fn a_body_may_take_its_time_in_short_pauses_and_any_once_it_is_answered() {
    let mut played = Played::start().await;
    let server = Server::start(&limited("body_timeout = \"500ms\"\nbody_rate_min = \"1B\"", played.address));
    let started = Instant::now();
    let mut client = client(&server, "POST /up HTTP/1.1\r\nhost: a\r\ncontent-length: 12\r\n\r\n").await;
    let (mut service, _) = played.asked().await;
    for piece in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        tokio::time::sleep(Duration::from_millis(100)).await;
        pass(&mut client, &mut service, piece).await;
    }
    assert!(started.elapsed() > Duration::from_millis(700), "it took longer than one pause may");
    service.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nour").await.expect("written");
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(bytes(&mut client, 3).await, b"our");
    // Now the two take turns, as in a gRPC call both ways.
    tokio::time::sleep(Duration::from_millis(800)).await;
    pass(&mut client, &mut service, "ijkl").await;
    pass(&mut service, &mut client, "say").await;
}

/// A client whose kernel takes little for it, and what it asks for is endless.
async fn reluctant(server: &Server) -> tokio::net::TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(16 << 10).expect("a size");
    let mut stream = socket.connect(server.address).await.expect("connects");
    stream.write_all(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    stream
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_off() {
    let mut played = Played::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    // The idle time is long: it must not be what ends the connection, nor when it is looked at.
    let limits = "send_timeout = \"500ms\"\nidle_timeout = \"60s\"";
    let server = Server::start_logging(log.to_str().expect("UTF-8"), &limited(limits, played.address));
    let started = Instant::now();
    let mut client = reluctant(&server).await;
    let (mut service, _) = played.asked().await;
    service.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.expect("written");
    let piece = vec![b'x'; 64 << 10];
    let sending = async { while service.write_all(&piece).await.is_ok() {} };
    // The gateway stops to take, and at last closes.
    soon(sending).await;
    assert!(started.elapsed() >= Duration::from_millis(500), "it had its time");
    let mut all = Vec::new();
    let read = soon(client.read_to_end(&mut all)).await;
    assert_eq!(read.expect_err("not in order").kind(), std::io::ErrorKind::ConnectionReset);
    let series = "intertie_connections_cut_total{limit=\"send_timeout\"}";
    until(async || server.metric(series).await == 1.0, "it is counted").await;
    let line = server.wait_for("connection_cut");
    assert!(line.contains("client=127.0.0.1") && line.contains("limit=send_timeout"), "{line}");
    let series = "intertie_request_errors_total{route=\"/**\",error=\"send_timeout\"}";
    until(async || server.metric(series).await == 1.0, "its request is counted as failed").await;
    until(
        async || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("\"cut\":\"send_timeout\"")),
        "it is logged",
    )
    .await;
}

#[tokio::test]
async fn a_client_that_takes_its_answer_slowly_gets_all_of_it() {
    const ALL: usize = 64 << 20;
    let mut played = Played::start().await;
    let server = Server::start(&limited("send_timeout = \"500ms\"", played.address));
    let mut client = reluctant(&server).await;
    let (mut service, _) = played.asked().await;
    let sending = tokio::spawn(async move {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {ALL}\r\n\r\n");
        service.write_all(answer.as_bytes()).await.expect("written");
        service.write_all(&vec![b'x'; ALL]).await.expect("taken");
    });
    head(&mut client).await;
    // Less than the socket buffers hold would not be seen: the kernel tells a sender of room only when a third
    // of its buffer is free.
    let (started, mut read) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_millis(1500) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        read += bytes(&mut client, 3 << 20).await.len();
    }
    assert_eq!(bytes(&mut client, ALL - read).await.len(), ALL - read);
    soon(sending).await.expect("all was taken");
}

/// Two streams of one connection: of one answer nothing is taken, the other comes after it.
#[tokio::test]
async fn an_http2_stream_whose_window_is_withheld_is_cut_off_alone() {
    let mut played = Played::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let limits = "send_timeout = \"800ms\"\nidle_timeout = \"60s\"";
    let server = Server::start_logging(log.to_str().expect("UTF-8"), &limited(limits, played.address));
    let stream = crate::harness::Client::new(server.address).connect().await.expect("connects");
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
            .initial_stream_window_size(1000)
            .initial_connection_window_size(1 << 20)
            .handshake(io)
            .await
            .expect("a handshake");
    tokio::spawn(connection);
    let mut get = |path: &str| {
        let request = http::Request::get(format!("http://a{path}")).body(crate::harness::full(""));
        sender.send_request(request.expect("a request"))
    };
    let started = Instant::now();
    let answering = async {
        let (mut service, _) = played.asked().await;
        service.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.expect("written");
        service
    };
    let (withheld, mut service) = tokio::join!(get("/withheld"), answering);
    let withheld = withheld.expect("a head");
    let piece = vec![b'x'; 64 << 10];
    soon(async { while service.write_all(&piece).await.is_ok() {} }).await;
    assert!(started.elapsed() >= Duration::from_millis(800), "it had its time");
    let series = "intertie_streams_cut_total{limit=\"send_timeout\"}";
    until(async || server.metric(series).await == 1.0, "it is counted").await;
    assert_eq!(server.metric("intertie_connections_cut_total{limit=\"send_timeout\"}").await, 0.0);
    assert!(withheld.into_body().collect().await.is_err(), "it was reset");
    let answering = async {
        let (mut service, _) = played.asked().await;
        service.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("written");
    };
    let (other, ()) = tokio::join!(get("/other"), answering);
    let other = other.expect("the connection serves on").into_body().collect().await;
    assert_eq!(other.expect("a whole answer").to_bytes(), "ok");
    let line = server.wait_for("stream_cut");
    assert!(line.contains("client=127.0.0.1") && line.contains("limit=send_timeout"), "{line}");
    until(
        async || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("\"cut\":\"send_timeout\"")),
        "it is logged",
    )
    .await;
}
