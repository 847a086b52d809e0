//! Services that switch when they should not, and clients that hope for it.

use tokio::io::AsyncWriteExt;

use super::{ASK, Played, bytes, chatting, client, head, rest};
use crate::harness::{Server, until};

/// Behind the request that asks to switch, in the same piece: nothing of it may reach a service by way of a
/// switch that did not happen.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n";

const WEBSOCKET: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// What a service says to a request, and the statuses that the client gets: that of the answer, and that of
/// the message behind the request, which is in doubt.
const CASES: &[(&str, &str, &str, &[u16])] = &[
    ("no switch", ASK, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", &[200, 400]),
    (
        "no switch, as the answer claims",
        ASK,
        "HTTP/1.1 200 OK\r\nconnection: upgrade\r\nupgrade: chat\r\ncontent-length: 2\r\n\r\nok",
        &[200, 400],
    ),
    (
        "a refusal",
        ASK,
        "HTTP/1.1 426 Upgrade Required\r\nconnection: upgrade\r\nupgrade: chat\r\ncontent-length: 0\r\n\r\n",
        &[426, 400],
    ),
    (
        "a refusal in chunks",
        ASK,
        "HTTP/1.1 403 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        &[403, 400],
    ),
    (
        "hints, then no switch",
        ASK,
        "HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        &[200, 400],
    ),
    ("a wrong version of WebSocket", WEBSOCKET, "HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n", &[400, 400]),
    ("another protocol", ASK, "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", &[502, 400]),
    (
        "two protocols",
        ASK,
        "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: chat, h2c\r\n\r\n",
        &[502, 400],
    ),
    (
        "two headers",
        ASK,
        "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: chat\r\nupgrade: chat\r\n\r\n",
        &[502, 400],
    ),
    ("no protocol", ASK, "HTTP/1.1 101 x\r\nconnection: upgrade\r\n\r\n", &[502, 400]),
    ("no Connection", ASK, "HTTP/1.1 101 x\r\nupgrade: chat\r\n\r\n", &[502, 400]),
    ("Connection: close", ASK, "HTTP/1.1 101 x\r\nconnection: close\r\nupgrade: chat\r\n\r\n", &[502, 400]),
    (
        "a length",
        ASK,
        "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: chat\r\ncontent-length: 0\r\n\r\n",
        &[502, 400],
    ),
    (
        "a body",
        ASK,
        "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: chat\r\ncontent-length: 2\r\n\r\nok",
        &[502, 400],
    ),
    (
        "chunks",
        ASK,
        "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: chat\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        &[502, 400],
    ),
    (
        "a WebSocket without the key's answer",
        WEBSOCKET,
        "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        &[502, 400],
    ),
    (
        "a WebSocket with the answer to another key",
        WEBSOCKET,
        "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk=\r\n\r\n",
        &[502, 400],
    ),
    (
        "a 101 of a proxy that tells a status only",
        WEBSOCKET,
        "HTTP/1.1 101 x\r\ncontent-type: text/plain\r\n\r\n",
        &[502, 400],
    ),
    (
        "unasked",
        "GET /chat HTTP/1.1\r\nhost: a\r\n\r\n",
        "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n",
        &[502, 400],
    ),
    (
        "asked for by a header alone",
        "GET /chat HTTP/1.1\r\nhost: a\r\nupgrade: chat\r\n\r\n",
        "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n",
        &[502, 400],
    ),
    (
        "asked for in HTTP/1.0",
        "GET /chat HTTP/1.0\r\nhost: a\r\nconnection: upgrade, keep-alive\r\nupgrade: chat\r\n\r\n",
        "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n",
        &[502, 400],
    ),
    (
        "asked for with a body",
        "POST /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: chat\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 426 x\r\nupgrade: chat\r\ncontent-length: 0\r\n\r\n",
        &[426, 400],
    ),
    (
        "asked for in HTTP/2",
        "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
        "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        &[502, 400],
    ),
];

#[tokio::test]
async fn only_the_switch_that_was_asked_for_is_one() {
    let mut played = Played::start().await;
    let server = Server::start(&chatting(played.address, ""));
    for (name, request, answer, statuses) in CASES {
        for pieces in [1, 2] {
            let together = format!("{request}{SMUGGLED}");
            let mut client = client(&server, if pieces == 1 { &together } else { request }).await;
            let (mut service, asked) = played.asked().await;
            assert!(asked.contains(" /chat "), "{name}: {asked}");
            if pieces == 2 {
                client.write_all(SMUGGLED.as_bytes()).await.expect("written");
            }
            service.write_all(answer.as_bytes()).await.expect("written");
            let answers = rest(&mut client).await;
            let found: Vec<u16> = answers
                .match_indices("HTTP/1.")
                .filter_map(|(at, _)| answers.get(at + 9..at + 12)?.parse().ok())
                .collect();
            // A refusal of the request may also close the connection before the next is looked at.
            assert_eq!(found, *statuses, "{name}: {answers}");
            if statuses[0] == 502 {
                assert!(answers.contains("SERVICE_FAILED"), "{name}: {answers}");
                let unfit = answers.contains("switched protocols") && !answers.contains("unasked");
                let told = if unfit { "http_upgrade_failed" } else { "http_protocol_error" };
                assert!(answers.contains(&format!("error={told}\r\n")), "{name}: {answers}");
                assert_eq!(rest(&mut service).await, "", "{name}: the service is let go of");
            } else {
                // The connection was kept, and nothing came on it.
                assert!(super::is_silent(&service).await, "{name}");
                service.set_zero_linger().expect("a TCP socket");
            }
        }
    }
}

/// The answer to the request before is not the verdict on this one.
#[tokio::test]
async fn a_verdict_is_on_the_request_that_asked() {
    let mut played = Played::start().await;
    let server = Server::start(&chatting(played.address, ""));
    let words = format!("GET /first HTTP/1.1\r\nhost: a\r\n\r\n{ASK}\0 is no HTTP");
    let mut client = client(&server, &words).await;
    let (mut service, asked) = played.asked().await;
    assert!(asked.contains(" /first "), "{asked}");
    service.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("written");
    let asked = head(&mut service).await;
    assert!(asked.contains(" /chat "), "{asked}");
    service.write_all(super::GRANT.as_bytes()).await.expect("written");
    assert_eq!(bytes(&mut service, 12).await, b"\0 is no HTTP");
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(bytes(&mut client, 2).await, b"ok");
    assert!(head(&mut client).await.starts_with("HTTP/1.1 101 "));
}

#[tokio::test]
async fn a_client_that_leaves_before_the_verdict_is_noticed() {
    let mut played = Played::start().await;
    let server = Server::start(&chatting(played.address, ""));
    let leaving = client(&server, ASK).await;
    let (mut service, _) = played.asked().await;
    drop(leaving);
    assert_eq!(rest(&mut service).await, "", "the attempt is called off");
    let series = super::of_route("requests_cancelled_total", "");
    until(async || server.metric(&series).await == 1.0, "it is counted").await;
}

/// A switch that is not the one that was asked for says nothing of the endpoint, good or bad: what was asked is the
/// client's to choose.
#[tokio::test]
async fn no_client_opens_or_closes_a_circuit_breaker_by_what_it_asks() {
    let mut played = Played::start().await;
    let keys = "circuit_breaker = { preset = \"sensitive\", failures = 1 }";
    let server = Server::start(&chatting(played.address, keys));
    for _ in 0..3 {
        let mut client = client(&server, &ASK.replacen("\r\n", "\r\nconnection: close\r\n", 1)).await;
        let (mut service, _) = played.asked().await;
        service
            .write_all(b"HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")
            .await
            .expect("written");
        assert!(rest(&mut client).await.contains("SERVICE_FAILED"));
    }
    let unjudged = format!(
        "intertie_attempts_total{{service=\"origin\",endpoint=\"{}\",outcome=\"unjudged\"}}",
        played.address
    );
    assert_eq!(server.metric(&unjudged).await, 3.0);
}
