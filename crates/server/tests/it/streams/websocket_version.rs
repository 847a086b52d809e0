//! WebSockets in a version that there is not.

use tokio::io::AsyncWriteExt;

use super::connect_http2::{Tunnel, ask, connection};
use super::{Played, bytes, client, head, rest};
use crate::harness::{Server, until};

const KEY: &str = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn handshake(path: &str, version: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n{KEY}{version}\r\n"
    )
}

/// Routes of which some let no WebSocket through, with an access log.
fn server(address: std::net::SocketAddr, log: &std::path::Path) -> Server {
    let traffic = format!(
        "[service.chat]\nendpoints = [{{ at = \"{address}\" }}]\n\
         [service.newer]\nendpoints = [{{ at = \"{address}\" }}]\nprotocol = \"http2\"\n\
         [route.\"/**\"]\nto = \"chat\"\nrate_limiter = {{ limit = \"1/h\", burst = 3 }}\n\
         [route.\"/none/**\"]\nto = \"chat\"\nupgrade = []\n\
         [route.\"/newer/**\"]\nto = \"newer\"\nattempt_timeout = \"1s\"\n",
    );
    Server::start_logging(log.to_str().expect("UTF-8"), &traffic)
}

#[tokio::test]
async fn another_version_than_13_is_answered_426_and_goes_to_no_service() {
    let mut played = Played::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let server = server(played.address, &log);
    let wrong = [
        "sec-websocket-version: 8\r\n",
        "sec-websocket-version: 13, 8\r\n",
        "sec-websocket-version: 13\r\nsec-websocket-version: 13\r\n",
        "",
    ];
    let asked: String = wrong.iter().map(|version| handshake("/chat", version)).collect();
    // On one connection, which stays open: nothing is in doubt about it.
    let mut refused = client(&server, &asked).await;
    for version in wrong {
        let answer = head(&mut refused).await;
        assert!(answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{version}: {answer}");
        for line in ["connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13"] {
            assert_eq!(answer.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line} in {answer}");
        }
        assert!(answer.contains("\r\nproxy-status: intertie; error=http_request_error\r\n"), "{answer}");
        let length = answer.split_once("content-length: ").expect("a length").1;
        let length = length.split_once("\r\n").expect("a line").0.parse().expect("a number");
        let body = String::from_utf8(bytes(&mut refused, length).await).expect("UTF-8");
        assert!(body.contains("\"UPGRADE_REQUIRED\""), "{body}");
    }
    // None of them was charged to the quota, and version 13 is asked for as ever.
    refused.write_all(handshake("/chat", "sec-websocket-version: 13\r\n").as_bytes()).await.expect("written");
    let (mut service, asked) = played.asked().await;
    assert!(asked.contains("\r\nsec-websocket-version: 13\r\n"), "{asked}");
    let granted = "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    service.write_all(granted.as_bytes()).await.expect("written");
    let answer = head(&mut refused).await;
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("\"default\";r=2"), "{answer}");
    assert_eq!(
        server.metric("intertie_request_errors_total{route=\"/**\",error=\"UPGRADE_REQUIRED\"}").await,
        4.0
    );
    assert_eq!(server.metric("intertie_requests_total{route=\"/**\",status=\"4xx\"}").await, 4.0);
    let lines = async || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines().filter(|line| line.contains("426") && line.contains("UPGRADE_REQUIRED")).count() == 4
    };
    until(lines, "four lines in the access log").await;
}

#[tokio::test]
async fn where_no_websocket_is_let_through_its_version_is_the_services_matter() {
    let mut played = Played::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = server(played.address, &folder.path().join("access.log"));
    let close = "sec-websocket-version: 8\r\nconnection: close\r\n";
    let mut plain = client(&server, &handshake("/none/chat", close)).await;
    let (mut service, asked) = played.asked().await;
    assert!(asked.contains("sec-websocket-version: 8") && !asked.contains("upgrade:"), "{asked}");
    let own = "HTTP/1.1 426 Upgrade Required\r\nupgrade: chat\r\ncontent-length: 0\r\n\r\n";
    service.write_all(own.as_bytes()).await.expect("written");
    let answer = rest(&mut plain).await;
    assert!(answer.starts_with("HTTP/1.1 426 ") && !answer.contains("UPGRADE_REQUIRED"), "{answer}");
    // A service of HTTP/2 is asked for nothing but a plain answer, whatever the version.
    let _plain = client(&server, &handshake("/newer/chat", "sec-websocket-version: 8\r\n")).await;
    let mut service = played.next().await;
    assert_eq!(bytes(&mut service, 14).await, b"PRI * HTTP/2.0");
}

#[tokio::test]
async fn over_http2_another_version_is_answered_400_with_the_right_one() {
    let mut played = Played::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = server(played.address, &folder.path().join("access.log"));
    let mut sender = connection(&server).await;
    let announced = sender.clone();
    until(async || announced.is_extended_connect_protocol_enabled(), "it is announced").await;
    for version in [Some("8"), None] {
        let mut request = http::Request::builder()
            .method(http::Method::CONNECT)
            .version(http::Version::HTTP_2)
            .uri("http://shop.example/chat")
            .body(())
            .expect("a request");
        if let Some(version) = version {
            request.headers_mut().insert("sec-websocket-version", version.parse().expect("a value"));
        }
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let mut refused = Tunnel::open(ask(&mut sender, request).await).await;
        assert_eq!(refused.head.status(), 400, "{version:?}");
        let headers = refused.head.headers();
        assert_eq!(headers["sec-websocket-version"], "13");
        assert!(!headers.contains_key("upgrade") && !headers.contains_key("connection"), "{headers:?}");
        let length = headers["content-length"].to_str().expect("ASCII").parse().expect("a number");
        let said = refused.hear(length).await;
        assert!(said.contains("\"BAD_REQUEST\"") && said.contains("only 13"), "{said}");
    }
    let connected = tokio::time::timeout(std::time::Duration::from_millis(100), played.next()).await;
    assert!(connected.is_err(), "the service was connected to");
}
