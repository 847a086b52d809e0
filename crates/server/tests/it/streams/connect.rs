//! Tunnels that clients of HTTP/1.1 ask for by CONNECT.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Played, bytes, client, fail, head, hear_failure, is_silent, pass, pass_anything, rest};
use crate::clients::require;
use crate::harness::{Client, Origin, Server, until};

pub(super) const CONNECT: &str = "CONNECT db.example:5432 HTTP/1.1\r\nhost: db.example:5432\r\n\r\n";

/// Tunnels to `db.example` lead to `endpoints`, with `keys` for their route; all else goes to no one.
pub(super) fn tunnelling(endpoints: &[SocketAddr], keys: &str) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(|at| format!("{{ at = \"{at}\" }}")).collect();
    format!(
        "[service.db]\nendpoints = [{}]\n\n[route.db]\n\
         match = {{ host = \"db.example\", method = \"CONNECT\" }}\nto = \"db\"\n{keys}\n",
        endpoints.join(", ")
    )
}

/// The series of the tunnels' route.
pub(super) fn of_tunnels(name: &str, labels: &str) -> String {
    format!("intertie_{name}{{route=\"db\"{labels}}}")
}

/// A client and the service that a tunnel leads it to.
async fn tunnel(server: &Server, service: &mut Played) -> (TcpStream, TcpStream) {
    let mut client = client(server, CONNECT).await;
    let service = service.next().await;
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));
    (client, service)
}

#[tokio::test]
async fn bytes_pass_both_ways_as_they_are() {
    let mut played = Played::start().await;
    let server = Server::start(&tunnelling(&[played.address], ""));
    for ask in [CONNECT.to_owned(), CONNECT.replace("1.1", "1.0"), CONNECT.replace("db.ex", "DB.eX")] {
        let ask = ask.replace("\r\n\r\n", "\r\nproxy-connection: keep-alive\r\ncontent-length: 0\r\n\r\n");
        // What stands behind the request is the first that the service hears.
        let mut client = client(&server, &format!("{ask}early")).await;
        let mut service = played.next().await;
        let answer = head(&mut client).await;
        let (status, headers) = answer.split_once("\r\n").expect("a head");
        assert!(status.ends_with(" 200 OK"), "{answer}");
        assert!(headers.contains("x-request-id: "), "{answer}");
        for framing in ["content-length", "transfer-encoding", "upgrade", "via"] {
            assert!(!headers.contains(framing), "{answer}");
        }
        assert_eq!(bytes(&mut service, 5).await, b"early");
        pass_anything(client, service).await;
    }
}

#[tokio::test]
async fn no_client_says_where_its_tunnel_leads() {
    let (mut named, mut played) = (Played::start().await, Played::start().await);
    let any = tunnelling(&[played.address], "").replace("host = \"db.example\", ", "");
    let server = Server::start(&any);
    let target = named.address;
    let mut client =
        client(&server, &format!("CONNECT {target} HTTP/1.1\r\nhost: other.example\r\n\r\nhello")).await;
    let mut service = played.next().await;
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(bytes(&mut service, 5).await, b"hello");
    let connected = tokio::time::timeout(Duration::from_millis(100), named.next()).await;
    assert!(connected.is_err(), "whoever the client named was connected to");
}

/// Whoever asks for a tunnel may speak on it before it is granted, for a stranger perhaps (RFC 9931).
#[tokio::test]
async fn a_refused_tunnel_ends_its_connection_and_what_follows_is_no_request() {
    let mut played = Played::start().await;
    let nobody: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let text = tunnelling(&[nobody], "")
        + &format!("[service.all]\nendpoints = [{{ at = \"{}\" }}]\n", played.address)
        + "[route.\"/**\"]\nto = \"all\"\n";
    let server = Server::start(&text);
    let refused = |target: &str, status| {
        let host = if target == "/" { "other.example" } else { target };
        (format!("CONNECT {target} HTTP/1.1\r\nhost: {host}\r\n\r\n"), status)
    };
    for (ask, status) in [
        refused(&played.address.to_string(), 405),
        refused("other.example:5432", 405),
        refused("/", 405),
        refused("db.example:0", 400),
        (CONNECT.to_owned(), 502),
        (CONNECT.replacen("\r\n", "\r\nconnection: keep-alive\r\n", 1), 502),
        (CONNECT.replacen("1.1\r\n", "1.0\r\nconnection: keep-alive\r\n", 1), 502),
        (CONNECT.replacen("\r\n", "\r\ncontent-length: 5\r\n", 1) + "hello", 400),
        (CONNECT.replacen("\r\n", "\r\ntransfer-encoding: chunked\r\n", 1) + "0\r\n\r\n", 400),
    ] {
        for next in ["GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n", "\x16\x03\x01 a handshake"] {
            let mut client = client(&server, &format!("{ask}{next}")).await;
            let answer = rest(&mut client).await;
            assert!(answer.contains(&format!(" {status} ")), "{ask}{next}: {answer}");
            assert_eq!(answer.matches("HTTP/1.").count(), 1, "{ask}{next}: {answer}");
            assert_eq!(answer.contains("allow: \r\n"), status == 405, "{answer}");
            assert!(answer.contains("\r\nconnection: close"), "{answer}");
        }
    }
    let connected = tokio::time::timeout(Duration::from_millis(100), played.next()).await;
    assert!(connected.is_err(), "what followed was a request");
    assert_eq!(server.metric(&of_tunnels("upgrades_total", "")).await, 0.0);
    let (_, text) = server.admin("/metrics").await;
    let doubts: Vec<_> =
        text.lines().filter(|line| line.contains("messages_refused_total{from=\"client\"")).collect();
    assert!(doubts.iter().all(|line| line.ends_with(" 0")), "what followed was read: {doubts:?}");
}

#[tokio::test]
async fn what_names_no_host_and_port_alone_is_refused() {
    let mut played = Played::start().await;
    let server = Server::start(&tunnelling(&[played.address], ""));
    let more = |line: &str| CONNECT.replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"));
    let asked = |target: &str| CONNECT.replacen("db.example:5432", target, 1);
    for request in [
        asked("db.example"),
        asked("db.example:"),
        asked("db.example:0"),
        asked("db.example:65536"),
        asked("http://db.example:5432/"),
        asked("/db.example:5432"),
        asked("user@db.example:5432"),
        more("content-length: 5") + "hello",
        more("transfer-encoding: chunked") + "0\r\n\r\n",
    ] {
        let request = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        let mut client = client(&server, &request).await;
        let answer = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request}\n{answer}");
        assert!(answer.contains("BAD_REQUEST"), "{answer}");
    }
    let connected = tokio::time::timeout(Duration::from_millis(100), played.next()).await;
    assert!(connected.is_err(), "the service was connected to");
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_replaced_by_another() {
    let nobody: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let mut played = Played::start().await;
    let endpoints = [nobody, played.address];
    let keys = "retry = { preset = \"quick\", base = \"1ms\" }\nattempt_timeout = \"5s\"";
    let server = Server::start(&tunnelling(&endpoints, keys));
    for _ in 0..4 {
        let (client, service) = tunnel(&server, &mut played).await;
        drop((client, service));
    }
    let alone = Server::start(&tunnelling(&[nobody], keys));
    let mut client = client(&alone, &format!("{CONNECT}secret")).await;
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("intertie-retry: exhausted"), "{answer}");
    assert!(answer.contains("SERVICE_UNREACHABLE") && answer.contains("connection: close"), "{answer}");
    let attempts =
        format!("intertie_attempts_total{{service=\"db\",endpoint=\"{nobody}\",outcome=\"transient\"}}");
    assert_eq!(alone.metric(&attempts).await, 3.0);
}

#[tokio::test]
async fn a_tunnel_holds_its_places_and_is_told_when_it_ends() {
    let mut played = Played::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let keys = "bulkhead = { concurrent = 1, queue = 0 }\ndeadline = \"300ms\"\nattempt_timeout = \"200ms\"\n\
                rate_limiter = { limit = \"2/h\" }";
    let server = Server::start_logging(log.to_str().expect("UTF-8"), &tunnelling(&[played.address], keys));
    let started = Instant::now();
    let (mut client, mut service) = tunnel(&server, &mut played).await;
    assert_eq!(server.metric(&of_tunnels("upgrades_open", "")).await, 1.0);
    assert_eq!(server.metric(&of_tunnels("requests_total", ",status=\"2xx\"")).await, 1.0);
    let endpoint = format!("service=\"db\",endpoint=\"{}\"", played.address);
    for (name, expected) in [("endpoint_in_flight", 1.0), ("endpoint_connections_total", 1.0)] {
        assert_eq!(server.metric(&format!("intertie_{name}{{{endpoint}}}")).await, expected, "{name}");
    }
    let succeeded = format!("intertie_attempts_total{{{endpoint},outcome=\"success\"}}");
    assert_eq!(server.metric(&succeeded).await, 1.0);
    for code in ["BULKHEAD_FULL", "RATE_LIMITED"] {
        let mut other =
            super::client(&server, &CONNECT.replacen("\r\n", "\r\nconnection: close\r\n", 1)).await;
        let answer = rest(&mut other).await;
        assert!(answer.contains(code), "{answer}");
    }
    // The deadline was for the connection, not for what is said on it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    pass(&mut client, &mut service, "four").await;
    pass(&mut service, &mut client, "seventy").await;
    drop(client);
    assert_eq!(rest(&mut service).await, "");
    drop(service);
    until(async || server.metric(&of_tunnels("upgrades_open", "")).await == 0.0, "the tunnel ends").await;
    assert_eq!(server.metric(&of_tunnels("upgrades_ended_total", ",how=\"closed\"")).await, 1.0);
    assert_eq!(server.metric(&of_tunnels("upgrade_bytes_total", ",to=\"service\"")).await, 4.0);
    assert_eq!(server.metric(&of_tunnels("upgrade_bytes_total", ",to=\"client\"")).await, 7.0);
    assert_eq!(server.metric(&format!("intertie_endpoint_in_flight{{{endpoint}}}")).await, 0.0);
    let has_line = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("\"status\":200"));
    until(async || has_line(), "it is logged").await;
    let text = std::fs::read_to_string(&log).expect("a log");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let lines: Vec<serde_json::Value> =
        lines.filter(|line: &serde_json::Value| line["status"] == 200).collect();
    let [line] = lines.as_slice() else { panic!("not one line: {text}") };
    assert_eq!((line["method"].as_str(), line["cut"].as_str()), (Some("CONNECT"), None), "{line}");
    assert_eq!(line["host"], "db.example");
    assert_eq!(line["path"], "db.example:5432");
    let lasted = line["duration_ms"].as_f64().expect("a duration");
    assert!((500.0..started.elapsed().as_secs_f64() * 1e3).contains(&lasted), "{line}");
}

#[tokio::test]
async fn a_tunnel_ends_when_it_is_silent_for_too_long_or_a_side_fails() {
    let mut played = Played::start().await;
    let server = Server::start(&tunnelling(&[played.address], "upgrade_idle_timeout = \"300ms\""));
    let (mut client, mut service) = tunnel(&server, &mut played).await;
    let began = Instant::now();
    assert_eq!((rest(&mut client).await, rest(&mut service).await), (String::new(), String::new()));
    assert!(began.elapsed() >= Duration::from_millis(250), "it had its time: {:?}", began.elapsed());
    for how in ["upgrade_idle_timeout", "client_left", "service_broke_off"] {
        if how != "upgrade_idle_timeout" {
            let (client, service) = tunnel(&server, &mut played).await;
            let (failing, mut other) =
                if how == "client_left" { (client, service) } else { (service, client) };
            fail(failing);
            hear_failure(&mut other).await;
        }
        let ended = of_tunnels("upgrades_ended_total", &format!(",how=\"{how}\""));
        until(async || server.metric(&ended).await == 1.0, how).await;
    }
}

#[tokio::test]
async fn curl_reaches_a_service_through_a_tunnel() {
    require("curl", "curl");
    let origin = Origin::statuses(&[200]).await;
    let text = tunnelling(&[origin.address], "").replace("db.example", "shop.example");
    let server = Server::start(&text);
    let proxy = format!("http://{}", server.address);
    let arguments =
        ["--silent", "--show-error", "--max-time", "30", "--proxytunnel", "--proxy", &proxy, "--noproxy", ""];
    let output = tokio::process::Command::new("curl")
        .args(arguments)
        .args(["--write-out", " %{http_connect} %{http_code}", "http://shop.example:8080/orders"])
        .output()
        .await
        .expect("curl runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "scripted 200 200", "{output:?}");
    let received = origin.received();
    assert_eq!((received.len(), received[0].path.as_str()), (1, "/orders"));
    assert_eq!(received[0].headers["host"], "shop.example:8080");
    assert!(!received[0].headers.contains_key("x-request-id"), "nobody looks into a tunnel");
}

#[tokio::test]
async fn a_slow_reader_stops_a_fast_sender() {
    let mut played = Played::start().await;
    let server = Server::start(&tunnelling(&[played.address], ""));
    let (mut client, service) = tunnel(&server, &mut played).await;
    let before = server.peak_memory_kib();
    let (piece, mut sent) = (vec![7; 64 << 10], 0);
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), client.write(&piece)).await {
        sent += written.expect("written");
        assert!(sent < 128 << 20, "nobody stops the sender");
    }
    let grown = server.peak_memory_kib() - before;
    assert!(grown < 4 << 10, "{sent} bytes sent made the server grow by {grown} KiB");
    assert!(!is_silent(&service).await, "something is there to be read");
    assert_eq!(Client::new(server.address).get("/").await.status, 404);
}
