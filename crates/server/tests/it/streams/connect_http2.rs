//! Tunnels on streams of HTTP/2.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response, Version};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::connect::{of_tunnels, tunnelling};
use super::{Played, bytes, fail, hear_failure, rest, soon};
use crate::harness::{Client, Server, until};

/// A connection on which the client says itself how each stream ends.
pub(super) async fn connection(server: &Server) -> SendRequest<Bytes> {
    connection_to_lose(server).await.0
}

/// The same, and who drives it: aborted, the connection ends without a word of HTTP/2.
async fn connection_to_lose(server: &Server) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = Client::new(server.address).connect().await.expect("connects");
    let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    (sender, tokio::spawn(connection))
}

fn connect(target: &str) -> Request<()> {
    let request = Request::builder().method(Method::CONNECT).version(Version::HTTP_2).uri(target);
    request.body(()).expect("a request")
}

pub(super) async fn ask(
    sender: &mut SendRequest<Bytes>,
    request: Request<()>,
) -> (ResponseFuture, SendStream<Bytes>) {
    let mut ready = soon(sender.clone().ready()).await.expect("the connection is open");
    ready.send_request(request, false).expect("sent")
}

/// A client's side of a tunnel.
pub(super) struct Tunnel {
    pub(super) head: Response<()>,
    pub(super) to: SendStream<Bytes>,
    pub(super) from: RecvStream,
}

impl Tunnel {
    pub(super) async fn open(asked: (ResponseFuture, SendStream<Bytes>)) -> Self {
        let (head, from) = soon(asked.0).await.expect("an answer").into_parts();
        Self { head: Response::from_parts(head, ()), to: asked.1, from }
    }

    pub(super) fn say(&mut self, words: &str) {
        self.to.send_data(Bytes::copy_from_slice(words.as_bytes()), false).expect("the stream is open");
    }

    pub(super) fn end(&mut self) {
        self.to.send_data(Bytes::new(), true).expect("the stream is open");
    }

    pub(super) async fn hear(&mut self, length: usize) -> String {
        let mut heard = Vec::new();
        while heard.len() < length {
            let data = soon(self.from.data()).await.expect("more").expect("data");
            self.from.flow_control().release_capacity(data.len()).expect("it was taken");
            heard.extend_from_slice(&data);
        }
        String::from_utf8(heard).expect("UTF-8")
    }

    /// How the other side ended: in order, or by a reset.
    pub(super) async fn heard_end(&mut self) -> Result<(), Reason> {
        loop {
            match soon(self.from.data()).await {
                None => return Ok(()),
                // The frame that says so may be empty.
                Some(Ok(data)) => assert!(data.is_empty(), "{data:?}"),
                Some(Err(error)) => return Err(error.reason().expect("a reset")),
            }
        }
    }
}

/// A tunnel and the service that it leads to.
async fn tunnel(sender: &mut SendRequest<Bytes>, service: &mut Played) -> (Tunnel, TcpStream) {
    let asked = ask(sender, connect("db.example:5432")).await;
    let service = service.next().await;
    let tunnel = Tunnel::open(asked).await;
    assert_eq!(tunnel.head.status(), 200);
    (tunnel, service)
}

async fn say(stream: &mut TcpStream, words: &str) {
    stream.write_all(words.as_bytes()).await.expect("written");
}

#[tokio::test]
async fn each_stream_is_a_tunnel_of_its_own_beside_requests() {
    let mut played = Played::start().await;
    let text = tunnelling(&[played.address], "") + "[route.\"/**\"]\nto = \"db\"\n";
    let server = Server::start(&text);
    let mut sender = connection(&server).await;
    // What is said behind the request is the first that the service hears.
    let mut asked = ask(&mut sender, connect("db.example:5432")).await;
    asked.1.send_data("early".into(), false).expect("the stream is open");
    let mut first_service = played.next().await;
    let mut first = Tunnel::open(asked).await;
    assert_eq!(bytes(&mut first_service, 5).await, b"early");
    assert_eq!(first.head.status(), 200);
    for framing in ["content-length", "transfer-encoding", "via"] {
        assert!(!first.head.headers().contains_key(framing), "{:?}", first.head);
    }
    assert!(first.head.headers().contains_key("x-request-id"));
    let (mut second, mut second_service) = tunnel(&mut sender, &mut played).await;
    assert_eq!(server.metric(&of_tunnels("upgrades_open", "")).await, 2.0);
    let plain = Request::get("http://a/").version(Version::HTTP_2).body(()).expect("a request");
    let (answer, _) = sender.clone().ready().await.expect("open").send_request(plain, true).expect("sent");
    let (mut origin, asked) = played.asked().await;
    assert!(asked.starts_with("GET / "), "{asked}");
    say(&mut origin, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(soon(answer).await.expect("an answer").status(), 200);
    for (tunnel, service) in [(&mut first, &mut first_service), (&mut second, &mut second_service)] {
        tunnel.say("ping");
        assert_eq!(bytes(service, 4).await, b"ping");
        say(service, "pong").await;
        assert_eq!(tunnel.hear(4).await, "pong");
    }
    // The ends of both sides pass, in either order.
    first.end();
    assert_eq!(rest(&mut first_service).await, "");
    say(&mut first_service, "what was left to say").await;
    assert_eq!(first.hear(20).await, "what was left to say");
    drop(first_service);
    assert_eq!(first.heard_end().await, Ok(()));
    second_service.shutdown().await.expect("half closed");
    assert_eq!(second.heard_end().await, Ok(()));
    second.say("what was left to say");
    assert_eq!(bytes(&mut second_service, 20).await, b"what was left to say");
    second.end();
    assert_eq!(rest(&mut second_service).await, "");
    let ended = of_tunnels("upgrades_ended_total", ",how=\"closed\"");
    until(async || server.metric(&ended).await == 2.0, "both are counted").await;
    assert_eq!(server.metric(&of_tunnels("upgrade_bytes_total", ",to=\"service\"")).await, 33.0);
    assert_eq!(server.metric(&of_tunnels("upgrade_bytes_total", ",to=\"client\"")).await, 28.0);
}

#[tokio::test]
async fn an_end_before_its_time_is_a_reset_and_only_of_its_stream() {
    let mut played = Played::start().await;
    let server = Server::start(&tunnelling(&[played.address], "upgrade_idle_timeout = \"600ms\""));
    let mut sender = connection(&server).await;
    let (mut lasting, mut lasting_service) = tunnel(&mut sender, &mut played).await;
    // The client cancels its stream: that is no end that it means.
    let mut left = 0.0;
    let ended = |how: &str| of_tunnels("upgrades_ended_total", &format!(",how=\"{how}\""));
    for reason in [Reason::CANCEL, Reason::NO_ERROR, Reason::INTERNAL_ERROR] {
        for service_has_ended in [false, true] {
            let (mut leaving, mut service) = tunnel(&mut sender, &mut played).await;
            if service_has_ended {
                service.shutdown().await.expect("half closed");
                assert_eq!(leaving.heard_end().await, Ok(()));
            }
            leaving.to.send_reset(reason);
            hear_failure(&mut service).await;
            left += 1.0;
            until(async || server.metric(&ended("client_left")).await == left, "it left").await;
        }
    }
    let (mut broken, service) = tunnel(&mut sender, &mut played).await;
    fail(service);
    assert_eq!(broken.heard_end().await, Err(Reason::CANCEL));
    until(async || server.metric(&ended("service_broke_off")).await == 1.0, "it broke off").await;
    let (mut silent, mut service) = tunnel(&mut sender, &mut played).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(700) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        lasting.say("tick");
        assert_eq!(bytes(&mut lasting_service, 4).await, b"tick");
    }
    assert_eq!(silent.heard_end().await, Err(Reason::CANCEL));
    assert_eq!(rest(&mut service).await, "");
    assert_eq!(server.metric(&ended("upgrade_idle_timeout")).await, 1.0);
    assert_eq!(server.metric(&of_tunnels("upgrades_open", "")).await, 1.0);
    drop((lasting, sender));
    hear_failure(&mut lasting_service).await;
    until(async || server.metric(&of_tunnels("upgrades_open", "")).await == 0.0, "all ended").await;
}

/// A client that has said its end can still be lost, and its service may have nothing to say by which that would
/// be noticed.
#[tokio::test]
async fn a_client_that_is_lost_after_its_end_leaves_nothing_behind() {
    let mut played = Played::start().await;
    let server = Server::start(&tunnelling(&[played.address], ""));
    let mut lost = 0.0;
    for ends_with_its_head in [true, false] {
        for resets in [true, false] {
            let (mut sender, driving) = connection_to_lose(&server).await;
            let mut ready = soon(sender.clone().ready()).await.expect("the connection is open");
            let asked = ready.send_request(connect("db.example:5432"), ends_with_its_head).expect("sent");
            let mut service = played.next().await;
            let mut client = Tunnel::open(asked).await;
            if !ends_with_its_head {
                client.end();
            }
            assert_eq!(rest(&mut service).await, "");
            assert_eq!(server.metric(&of_tunnels("upgrades_open", "")).await, 1.0);
            if resets {
                client.to.send_reset(Reason::CANCEL);
            } else {
                driving.abort();
            }
            until(async || server.metric(&of_tunnels("upgrades_open", "")).await == 0.0, "it ends").await;
            until(async || service.take_error().expect("a socket").is_some(), "the service hears of it")
                .await;
            lost += 1.0;
            let left = of_tunnels("upgrades_ended_total", ",how=\"client_left\"");
            assert_eq!(server.metric(&left).await, lost);
            if resets {
                let (mut other, mut service) = tunnel(&mut sender, &mut played).await;
                other.end();
                assert_eq!(rest(&mut service).await, "", "its connection goes on");
                drop(service);
                assert_eq!(other.heard_end().await, Ok(()));
            }
        }
    }
}

#[tokio::test]
async fn the_tunnels_of_a_connection_that_is_lost_fail() {
    let mut played = Played::start().await;
    let server = Server::start(&tunnelling(&[played.address], ""));
    let (mut sender, driving) = connection_to_lose(&server).await;
    let (_first, mut open) = tunnel(&mut sender, &mut played).await;
    let (mut second, mut ended) = tunnel(&mut sender, &mut played).await;
    ended.shutdown().await.expect("half closed");
    assert_eq!(second.heard_end().await, Ok(()));
    driving.abort();
    hear_failure(&mut open).await;
    hear_failure(&mut ended).await;
    let left = of_tunnels("upgrades_ended_total", ",how=\"client_left\"");
    until(async || server.metric(&left).await == 2.0, "both are counted").await;
}

#[tokio::test]
async fn what_is_not_a_tunnel_is_refused_and_the_connection_goes_on() {
    let mut played = Played::start().await;
    let server = Server::start(&tunnelling(&[played.address], ""));
    let mut sender = connection(&server).await;
    for (target, status, allow) in
        [("other.example:5432", 405, Some("")), ("db.example", 400, None), ("db.example:0", 400, None)]
    {
        let answer = Tunnel::open(ask(&mut sender, connect(target)).await).await.head;
        assert_eq!(answer.status(), status, "{target}");
        let told = answer.headers().get("allow").map(|value| value.to_str().expect("ASCII"));
        assert_eq!(told, allow, "{target}");
    }
    let (mut good, mut service) = tunnel(&mut sender, &mut played).await;
    good.say("still here");
    assert_eq!(bytes(&mut service, 10).await, b"still here");
}

#[tokio::test]
async fn content_in_a_connect_ends_its_connection_and_reaches_no_service() {
    let mut played = Played::start().await;
    let server = Server::start(&tunnelling(&[played.address], ""));
    let mut sender = connection(&server).await;
    let mut other = connection(&server).await;
    let mut request = connect("db.example:5432");
    request.headers_mut().insert("content-length", "5".parse().expect("a value"));
    soon(ask(&mut sender, request).await.0).await.expect_err("no answer");
    assert!(server.wait_for("request_refused").contains("reason=http2_error"));
    let refused = "intertie_messages_refused_total{from=\"client\",reason=\"http2_error\"}";
    assert_eq!(server.metric(refused).await, 1.0);
    assert!(soon(std::future::poll_fn(|context| sender.poll_ready(context))).await.is_err());
    // The first that the service hears of is a connection of another client.
    let (mut good, mut service) = tunnel(&mut other, &mut played).await;
    good.say("still here");
    assert_eq!(bytes(&mut service, 10).await, b"still here");
    assert_eq!(server.metric(&of_tunnels("upgrades_total", "")).await, 1.0);
}

#[tokio::test]
async fn an_end_that_was_said_is_no_error() {
    let mut played = Played::start().await;
    let limits = "client_limits = { header_timeout = \"200ms\", idle_timeout = \"200ms\" }\n";
    let server = Server::start_with(limits, &tunnelling(&[played.address], ""));
    let open = || server.metric("intertie_gateway_connections");
    let before = open().await;
    // One that says GOAWAY, one that just closes, and one that is told to go since it is idle.
    let (sender, leaving) = connection_to_lose(&server).await;
    drop(sender);
    soon(leaving).await.expect("no panic").expect("an orderly end");
    let (mut sender, closing) = connection_to_lose(&server).await;
    drop(tunnel(&mut sender, &mut played).await);
    closing.abort();
    let (_sender, idle) = connection_to_lose(&server).await;
    soon(idle).await.expect("no panic").expect("an orderly end");
    until(async || open().await == before, "all are closed").await;
    let refused = "intertie_messages_refused_total{from=\"client\",reason=\"http2_error\"}";
    assert_eq!(server.metric(refused).await, 0.0);
}

#[tokio::test]
async fn a_connection_with_a_tunnel_is_not_idle_and_lasts_through_a_drain() {
    let mut played = Played::start().await;
    let limits = "drain = \"1s\"\nclient_limits = { header_timeout = \"200ms\", idle_timeout = \"200ms\" }\n";
    let mut server = Server::start_with(limits, &tunnelling(&[played.address], ""));
    let mut sender = connection(&server).await;
    let (mut client, mut service) = tunnel(&mut sender, &mut played).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    client.say("after a while");
    assert_eq!(bytes(&mut service, 13).await, b"after a while");
    let began = Instant::now();
    server.signal("TERM");
    server.wait_for("drain");
    say(&mut service, "while others go").await;
    assert_eq!(client.hear(15).await, "while others go");
    server.wait();
    assert!(began.elapsed() >= Duration::from_millis(900), "it was left the time of the drain");
}

#[tokio::test]
async fn a_slow_reader_stops_a_fast_sender() {
    const PIECE: usize = 64 << 10;
    let mut played = Played::start().await;
    let server = Server::start(&tunnelling(&[played.address], ""));
    let mut sender = connection(&server).await;
    let (mut client, mut service) = tunnel(&mut sender, &mut played).await;
    let before = server.peak_memory_kib();
    let piece: Vec<u8> = (0..PIECE).map(|at| (at % 251) as u8).collect();
    // The client opens no window beyond the first.
    let mut sent = 0;
    while let Ok(written) =
        tokio::time::timeout(Duration::from_secs(1), service.write(&piece[sent % PIECE..])).await
    {
        sent += written.expect("written");
        assert!(sent < 128 << 20, "nobody stops the service");
    }
    let grown = server.peak_memory_kib() - before;
    assert!(grown < 4 << 10, "{sent} bytes sent made the server grow by {grown} KiB");
    let mut at = 0;
    while at < sent {
        let data = soon(client.from.data()).await.expect("more").expect("data");
        client.from.flow_control().release_capacity(data.len()).expect("it was taken");
        for byte in &data {
            assert_eq!(*byte, ((at % PIECE) % 251) as u8, "at {at}");
            at += 1;
        }
    }
    // And the other way: the window of the stream is all that the client may send.
    client.to.reserve_capacity(32 << 20);
    let before = server.peak_memory_kib();
    let mut given = 0;
    loop {
        let capacity = std::future::poll_fn(|context| client.to.poll_capacity(context));
        let Ok(capacity) = tokio::time::timeout(Duration::from_secs(1), capacity).await else { break };
        let capacity = capacity.expect("the stream is open").expect("a window");
        given += capacity;
        assert!(given < 32 << 20, "nobody stops the client");
        client.to.send_data(vec![7; capacity].into(), false).expect("the window was given");
    }
    let grown = server.peak_memory_kib() - before;
    assert!(grown < 8 << 10, "{given} bytes made the server grow by {grown} KiB");
}
