//! Connections that go on in another protocol.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    ASK, GRANT, Played, bytes, chat, chatting, client, fail, head, hear_failure, is_silent, of_route, pass,
    pass_anything, rest, soon,
};
use crate::harness::{Client, Server, until};

#[tokio::test]
async fn both_sides_say_what_they_like_and_see_the_others_end() {
    let mut played = Played::start().await;
    let server = Server::start(&chatting(played.address, ""));
    let mut client =
        client(&server, &ASK.replace("upgrade\r\nupgrade", "keep-alive, Upgrade\r\nupgrade")).await;
    let (mut service, request) = played.asked().await;
    assert!(request.starts_with("GET /chat HTTP/1.1\r\n"), "{request}");
    for line in [
        "\r\nconnection: upgrade\r\n",
        "\r\nupgrade: chat\r\n",
        "\r\nhost: a\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
    ] {
        assert_eq!(request.matches(line).count(), 1, "{line} in {request}");
    }
    let grant = GRANT.replace("\r\n\r\n", "\r\nx-room: 7\r\nkeep-alive: timeout=5\r\n\r\n");
    // What follows the head in the same piece is the first that the service says.
    service.write_all(format!("{grant}welcome").as_bytes()).await.expect("written");
    let answer = head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
    for line in ["connection: upgrade\r\n", "upgrade: chat\r\n", "x-room: 7\r\n", "x-request-id: "] {
        assert_eq!(answer.matches(line).count(), 1, "{line} in {answer}");
    }
    assert!(!answer.contains("keep-alive") && !answer.contains("content-length"), "{answer}");
    assert_eq!(bytes(&mut client, 7).await, b"welcome");
    pass_anything(client, service).await;
}

#[tokio::test]
async fn not_a_byte_goes_to_the_service_before_its_101() {
    let mut played = Played::start().await;
    let server = Server::start(&chatting(played.address, ""));
    let mut client = client(&server, &format!("{ASK}early")).await;
    let (mut service, _) = played.asked().await;
    client.write_all(b" bird").await.expect("written");
    assert!(is_silent(&service).await, "nothing was granted yet");
    service.write_all(GRANT.as_bytes()).await.expect("written");
    assert_eq!(bytes(&mut service, 10).await, b"early bird");
    head(&mut client).await;
    pass(&mut service, &mut client, "late").await;
}

#[tokio::test]
async fn a_tunnel_holds_its_places_and_is_told_when_it_ends() {
    let mut played = Played::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let keys = "bulkhead = { concurrent = 1, queue = 0 }\ndeadline = \"300ms\"\nattempt_timeout = \"200ms\"";
    let server = Server::start_logging(log.to_str().expect("UTF-8"), &chatting(played.address, keys));
    let started = Instant::now();
    let (mut client, mut service) = chat(&server, &mut played).await;
    assert_eq!(server.metric(&of_route("upgrades_open", "")).await, 1.0);
    assert_eq!(server.metric(&of_route("requests_total", ",status=\"1xx\"")).await, 1.0);
    let endpoint = format!("service=\"origin\",endpoint=\"{}\"", played.address);
    assert_eq!(server.metric(&format!("intertie_endpoint_in_flight{{{endpoint}}}")).await, 1.0);
    assert_eq!(
        server.metric(&format!("intertie_attempts_total{{{endpoint},outcome=\"success\"}}")).await,
        1.0
    );
    let other = Client::new(server.address).get("/").await;
    assert_eq!((other.status, other.code().as_str()), (503, "BULKHEAD_FULL"));
    // The deadline was for the answer, not for what follows it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    pass(&mut client, &mut service, "four").await;
    pass(&mut service, &mut client, "seventy").await;
    drop(client);
    assert_eq!(rest(&mut service).await, "");
    drop(service);
    until(async || server.metric(&of_route("upgrades_open", "")).await == 0.0, "the tunnel ends").await;
    assert_eq!(server.metric(&of_route("upgrades_total", "")).await, 1.0);
    assert_eq!(server.metric(&of_route("upgrades_ended_total", ",how=\"closed\"")).await, 1.0);
    assert_eq!(server.metric(&of_route("upgrade_bytes_total", ",to=\"service\"")).await, 4.0);
    assert_eq!(server.metric(&of_route("upgrade_bytes_total", ",to=\"client\"")).await, 7.0);
    assert_eq!(server.metric(&format!("intertie_endpoint_in_flight{{{endpoint}}}")).await, 0.0);
    assert_eq!(server.metric(&of_route("requests_total", ",status=\"1xx\"")).await, 1.0);
    until(
        async || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("\"status\":101")),
        "it is logged",
    )
    .await;
    let text = std::fs::read_to_string(&log).expect("a log");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|line: &serde_json::Value| line["status"] == 101)
        .collect();
    let [line] = lines.as_slice() else { panic!("not one line: {text}") };
    assert_eq!((line["path"].as_str(), line["cut"].as_str()), (Some("/chat"), None), "{line}");
    let lasted = line["duration_ms"].as_f64().expect("a duration");
    assert!((500.0..started.elapsed().as_secs_f64() * 1e3).contains(&lasted), "{line}");
    let mut next = super::client(&server, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let (mut service, _) = played.asked().await;
    service.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("written");
    assert!(rest(&mut next).await.starts_with("HTTP/1.1 200 "), "the place is free again");
}

#[tokio::test]
async fn a_tunnel_is_cut_off_when_it_is_silent_for_too_long() {
    let mut played = Played::start().await;
    let server = Server::start(&chatting(played.address, "upgrade_idle_timeout = \"400ms\""));
    let (mut client, mut service) = chat(&server, &mut played).await;
    let started = Instant::now();
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        pass(&mut service, &mut client, "tick").await;
    }
    let last = Instant::now();
    assert!(last - started >= Duration::from_millis(600), "it was alive for longer than it may be silent");
    assert_eq!((rest(&mut client).await, rest(&mut service).await), (String::new(), String::new()));
    assert!(last.elapsed() >= Duration::from_millis(390), "it had its time: {:?}", last.elapsed());
    let ended = of_route("upgrades_ended_total", ",how=\"upgrade_idle_timeout\"");
    until(async || server.metric(&ended).await == 1.0, "it is counted").await;
}

#[tokio::test]
async fn a_side_that_fails_ends_the_other_and_is_named() {
    let mut played = Played::start().await;
    let server = Server::start(&chatting(played.address, ""));
    for (client_fails, how) in [(true, "client_left"), (false, "service_broke_off")] {
        let (client, service) = chat(&server, &mut played).await;
        let (failing, mut other) = if client_fails { (client, service) } else { (service, client) };
        fail(failing);
        hear_failure(&mut other).await;
        let ended = of_route("upgrades_ended_total", &format!(",how=\"{how}\""));
        until(async || server.metric(&ended).await == 1.0, how).await;
    }
}

/// What neither the gateway nor the kernel has room for stays with the sender.
#[tokio::test]
async fn a_slow_reader_stops_a_fast_sender() {
    const PIECE: usize = 64 << 10;
    /// Far more than the buffers of four sockets and the gateway's own.
    const ENOUGH: usize = 128 << 20;
    let mut played = Played::start().await;
    let server = Server::start(&chatting(played.address, ""));
    for client_is_slow in [true, false] {
        let (client, service) = chat(&server, &mut played).await;
        let (mut fast, mut slow) = if client_is_slow { (service, client) } else { (client, service) };
        let before = server.peak_memory_kib();
        let mut sent = 0_usize;
        let piece: Vec<u8> = (0..PIECE).map(|at| (at % 251) as u8).collect();
        let mut rest_of_piece = &piece[..0];
        // A write that does not come through for a second is one that has been stopped.
        loop {
            if rest_of_piece.is_empty() {
                rest_of_piece = &piece;
            }
            match tokio::time::timeout(Duration::from_secs(1), fast.write(rest_of_piece)).await {
                Ok(written) => {
                    let written = written.expect("written");
                    rest_of_piece = &rest_of_piece[written..];
                    sent += written;
                }
                Err(_) => break,
            }
            assert!(sent < ENOUGH, "nobody stops the sender");
        }
        let grown = server.peak_memory_kib() - before;
        assert!(grown < 4 << 10, "{sent} bytes sent made the server grow by {grown} KiB");
        let reading = async {
            let (mut at, mut buffer) = (0, vec![0; PIECE]);
            while at < sent {
                let read = slow.read(&mut buffer).await.expect("read");
                assert!(read > 0, "{at} of {sent}");
                for byte in &buffer[..read] {
                    assert_eq!(*byte, ((at % PIECE) % 251) as u8, "at {at}");
                    at += 1;
                }
            }
        };
        soon(reading).await;
    }
}

#[tokio::test]
async fn what_may_not_be_spoken_goes_on_as_a_plain_request() {
    let mut played = Played::start().await;
    let server = Server::start(&format!(
        "{}\n[route.\"/none/**\"]\nto = \"origin\"\nupgrade = []\n[route.\"/default/**\"]\nto = \"origin\"\n",
        chatting(played.address, "")
    ));
    let next = "GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let websocket = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nupgrade: websocket";
    for (what, request) in [
        ("not allowed", ASK.replace("/chat", "/none/a")),
        ("not allowed by default", ASK.replace("/chat", "/default/a")),
        ("WebSocket switched off", ASK.replace("/chat", "/none/a").replace("upgrade: chat", websocket)),
        ("HTTP/2", ASK.replace("upgrade: chat", "upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA")),
        ("not named by Connection", ASK.replace("connection: upgrade\r\n", "")),
        ("with a body", ASK.replace("\r\n\r\n", "\r\ncontent-length: 2\r\n\r\nhi")),
        ("without a key", ASK.replace("upgrade: chat", "upgrade: websocket")),
    ] {
        // The next request stands right behind it: it is one, since nothing was switched.
        let mut client = client(&server, &format!("{request}{next}")).await;
        let mut service = None;
        for path in [" /", " /next "] {
            let (stream, asked) = match service.take() {
                None => played.asked().await,
                Some(mut stream) => {
                    let asked = head(&mut stream).await;
                    (stream, asked)
                }
            };
            let mut stream = stream;
            assert!(asked.contains(path), "{what}: {asked}");
            assert!(!asked.contains("upgrade:") && !asked.contains("connection:"), "{what}: {asked}");
            if asked.contains("content-length: 2") {
                bytes(&mut stream, 2).await;
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("written");
            service = Some(stream);
        }
        let answers = rest(&mut client).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{what}: {answers}");
        drop(service);
    }
    assert_eq!(server.metric(&of_route("upgrades_total", "")).await, 0.0);
}

#[tokio::test]
async fn a_tunnel_outlives_a_hundred_reloads_and_lasts_through_a_drain() {
    let mut played = Played::start().await;
    let traffic = |number: usize| chatting(played.address, &format!("body_max = \"{number}KiB\""));
    let (before, after): (Vec<_>, _) = ((1..=100).map(traffic).collect(), traffic(101));
    let mut server = Server::start_with("drain = \"1s\"\n", &before[0]);
    let (mut client, mut service) = chat(&server, &mut played).await;
    for (number, traffic) in before.iter().chain([&after]).enumerate().skip(1) {
        server.rewrite("drain = \"1s\"\n", traffic);
        server.signal("HUP");
        server.wait_for_nth("config_reloaded", number);
    }
    pass(&mut client, &mut service, "still here").await;
    let began = Instant::now();
    server.signal("TERM");
    server.wait_for("drain");
    pass(&mut service, &mut client, "while others go").await;
    server.wait();
    assert!(began.elapsed() >= Duration::from_millis(900), "it was left the time of the drain");
    let _ = soon(client.read(&mut [0])).await;
}
