//! WebSockets on streams of HTTP/2 (RFC 8441), to services that speak HTTP/1.1.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Reason, SendStream};
use http::{Method, Request, Version};
use tokio::io::AsyncWriteExt;

use super::connect_http2::{Tunnel, ask, connection};
use super::{Played, bytes, is_silent, of_route, rest};
use crate::harness::{Server, until};

/// One route for GET to `address`, with `keys` of its own.
fn before(address: SocketAddr, service: &str, keys: &str) -> String {
    format!(
        "[service.chat]\nendpoints = [{{ at = \"{address}\" }}]\n{service}\n\n\
         [route.chat]\nto = \"chat\"\nmatch = {{ path = \"/**\", method = \"GET\" }}\n{keys}\n"
    )
}

fn handshake(protocol: &'static str) -> Request<()> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri("http://shop.example/chat?room=7")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "talk, chat")
        .header("sec-websocket-key", "the client's")
        .header("origin", "http://shop.example")
        .body(())
        .expect("a request");
    request.extensions_mut().insert(Protocol::from_static(protocol));
    request
}

/// Asks once the gateway has said that it may be asked.
async fn ask_for(
    sender: &mut SendRequest<Bytes>,
    protocol: &'static str,
) -> (ResponseFuture, SendStream<Bytes>) {
    let announced = sender.clone();
    until(async || announced.is_extended_connect_protocol_enabled(), "it is announced").await;
    ask(sender, handshake(protocol)).await
}

/// What a service answers to the key in `head` (RFC 6455, section 4.2.2).
fn accept_of(head: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let line = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).expect("a key");
    assert!(line.len() == 24 && line.ends_with("=="), "{line}");
    let whole = format!("{line}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, whole.as_bytes());
    // 20 bytes are 26 whole letters and one of four bits.
    let bits =
        |at: usize| digest.as_ref().get(at / 8).map_or(0, |byte| usize::from(byte >> (7 - at % 8) & 1));
    let letter = |number: usize| (0..6).fold(0, |letter, bit| letter << 1 | bits(number * 6 + bit));
    let letters = (0..27).map(|number| char::from(ALPHABET[letter(number)]));
    letters.chain(['=']).collect()
}

fn grant(head: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {}\r\nsec-websocket-protocol: chat\r\nx-room: 7\r\n\r\n",
        accept_of(head)
    )
}

#[tokio::test]
async fn a_stream_becomes_the_websocket_that_its_service_grants() {
    let mut played = Played::start().await;
    let server = Server::start(&before(played.address, "", "deadline = \"5s\"\nattempt_timeout = \"2s\""));
    let mut sender = connection(&server).await;
    let mut asked = ask_for(&mut sender, "websocket").await;
    asked.1.send_data("early".into(), false).expect("the stream is open");
    let (mut service, head) = played.asked().await;
    assert!(head.starts_with("GET /chat?room=7 HTTP/1.1\r\n"), "{head}");
    for line in [
        "host: shop.example",
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-protocol: talk, chat",
        "origin: http://shop.example",
        "via: 2 intertie",
    ] {
        assert_eq!(head.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line} in {head}");
    }
    assert!(!head.contains("the client's"), "its key has no meaning in HTTP/2: {head}");
    asked.1.send_data(" bird".into(), false).expect("the stream is open");
    assert!(is_silent(&service).await, "nothing was granted yet");
    service.write_all(format!("{}welcome", grant(&head)).as_bytes()).await.expect("written");
    let mut client = Tunnel::open(asked).await;
    let headers = client.head.headers();
    assert_eq!(
        (client.head.status().as_u16(), &headers["sec-websocket-protocol"]),
        (200, &"chat".parse().expect("ASCII"))
    );
    assert_eq!(headers["x-room"], "7");
    for ended in ["sec-websocket-accept", "upgrade", "connection", "content-length"] {
        assert!(!headers.contains_key(ended), "{headers:?}");
    }
    assert_eq!(client.hear(7).await, "welcome");
    assert_eq!(bytes(&mut service, 10).await, b"early bird");
    client.end();
    assert_eq!(rest(&mut service).await, "");
    drop(service);
    assert_eq!(client.heard_end().await, Ok(()));
    let of_chat = |name, labels| of_route(name, labels).replace("/**", "chat");
    until(async || server.metric(&of_chat("upgrades_open", "")).await == 0.0, "it ends").await;
    assert_eq!(server.metric(&of_chat("upgrades_ended_total", ",how=\"closed\"")).await, 1.0);
    assert_eq!(server.metric(&of_chat("requests_total", ",status=\"2xx\"")).await, 1.0);
}

#[tokio::test]
async fn an_answer_that_grants_nothing_opens_nothing() {
    let mut played = Played::start().await;
    let server = Server::start(&before(played.address, "", ""));
    let mut sender = connection(&server).await;
    let plain = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned();
    let unfit =
        "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n";
    let refusal = "HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nnope".to_owned();
    for (answer, status, said, outcome) in [
        (plain, 502, "the service answered without switching protocols", "permanent"),
        (unfit.to_owned(), 502, "that is not the answer to the client's key", "unjudged"),
        (refusal, 403, "nope", "permanent"),
    ] {
        let outcomes = format!(
            "intertie_attempts_total{{service=\"chat\",endpoint=\"{}\",outcome=\"{outcome}\"}}",
            played.address
        );
        let before = server.metric(&outcomes).await;
        let asked = ask_for(&mut sender, "websocket").await;
        let (mut service, _) = played.asked().await;
        service.write_all(answer.as_bytes()).await.expect("written");
        let mut client = Tunnel::open(asked).await;
        assert_eq!(client.head.status(), status, "{answer}");
        let heard = client.hear(said.len()).await;
        assert!(heard.contains(said), "{heard}");
        let told = client.head.headers().get("proxy-status").map(|value| value.to_str().expect("ASCII"));
        assert_eq!(told, (status == 502).then_some("intertie; error=http_upgrade_failed"));
        client.to.send_reset(Reason::CANCEL);
        until(async || server.metric(&outcomes).await == before + 1.0, outcome).await;
    }
}

#[tokio::test]
async fn what_a_route_does_not_allow_goes_to_no_service() {
    let mut played = Played::start().await;
    for (service, keys, protocol, status, allow) in [
        ("", "upgrade = []", "websocket", 405, Some("GET")),
        ("", "upgrade = [\"chat\"]", "websocket", 405, Some("GET")),
        ("protocol = \"http2\"", "", "websocket", 405, Some("GET")),
        ("", "upgrade = [\"websocket\", \"chat\"]", "chat", 501, None),
        ("", "", "connect-udp", 501, None),
    ] {
        let server = Server::start(&before(played.address, service, keys));
        let mut sender = connection(&server).await;
        let client = Tunnel::open(ask_for(&mut sender, protocol).await).await;
        assert_eq!(client.head.status(), status, "{service} {keys} {protocol}");
        let told = client.head.headers().get("allow").map(|value| value.to_str().expect("ASCII"));
        assert_eq!(told, allow, "{service} {keys} {protocol}");
    }
    let connected = tokio::time::timeout(std::time::Duration::from_millis(100), played.next()).await;
    assert!(connected.is_err(), "the service was connected to");
}
