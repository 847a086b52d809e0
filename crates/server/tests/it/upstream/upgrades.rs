//! Other protocols, to services that are spoken to with TLS or in HTTP/2.

use std::net::SocketAddr;

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::before;
use super::origin::{Origin, Terms};
use crate::harness::{Client, PATIENCE, Server};
use crate::tls::Authority;

const CHAT: &str = "upgrade = [\"chat\"]";
const ASK: [(&str, &str); 2] = [("connection", "upgrade"), ("upgrade", "chat")];
const GRANT: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";

/// The bytes up to the end of a head.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).expect("ASCII")
}

/// Asks for `chat`, and speaks it with a service that says everything twice.
async fn chat(gateway: SocketAddr) -> String {
    let mut client = Client::new(gateway).connect().await.expect("connects");
    let ask = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
    client.write_all(format!("{ask}hello").as_bytes()).await.expect("written");
    let answer = head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    client.shutdown().await.expect("half closed");
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.expect("an orderly end");
    heard
}

#[tokio::test]
async fn a_tunnel_to_a_service_with_tls_carries_the_ends_of_both_sides() {
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.write_into(folder.path());
    authority.issue(folder.path(), "service", &["127.0.0.1"]);
    let terms = Terms::tls(folder.path(), "service", &["http/1.1"]);
    let acceptor = TlsAcceptor::from(terms.tls.expect("TLS"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let keys = "protocol = \"negotiate\"\ntls = { roots = \"roots.crt\" }";
    let text = before(&[listener.local_addr().expect("bound")], keys, CHAT);
    let server = Server::start_among(folder, &text);
    let serving = async {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut stream = acceptor.accept(stream).await.expect("TLS");
        assert!(head(&mut stream).await.contains("\r\nupgrade: chat\r\n"));
        stream.write_all(GRANT).await.expect("written");
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.expect("the end that the client said");
        stream.write_all(heard.repeat(2).as_bytes()).await.expect("written");
        stream.shutdown().await.expect("an orderly end");
    };
    let both = async { tokio::join!(chat(server.address), serving).0 };
    assert_eq!(tokio::time::timeout(PATIENCE, both).await.expect("in time"), "hellohello");
}

/// The handshake says nothing of protocols: what is spoken in a tunnel is not the gateway's to offer.
#[tokio::test]
async fn a_tunnel_of_bytes_leads_through_tls_too() {
    for protocol in ["http1", "http2", "negotiate"] {
        let folder = TempDir::new().expect("a temporary folder");
        let authority = Authority::new("roots");
        authority.write_into(folder.path());
        authority.issue(folder.path(), "service", &["127.0.0.1"]);
        let terms = Terms::tls(folder.path(), "service", &["postgresql"]);
        let acceptor = TlsAcceptor::from(terms.tls.expect("TLS"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let keys = format!("protocol = \"{protocol}\"\ntls = {{ roots = \"roots.crt\" }}");
        let text = before(&[listener.local_addr().expect("bound")], &keys, "");
        let server = Server::start_among(folder, &text.replace("\"/**\"", "\"CONNECT /**\""));
        let serving = async {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut stream = acceptor.accept(stream).await.expect("TLS");
            assert_eq!(stream.get_ref().1.alpn_protocol(), None);
            let mut heard = String::new();
            stream.read_to_string(&mut heard).await.expect("the end that the client said");
            stream.write_all(heard.repeat(2).as_bytes()).await.expect("written");
            stream.shutdown().await.expect("an orderly end");
        };
        let talking = async {
            let mut client = Client::new(server.address).connect().await.expect("connects");
            let ask = "CONNECT db.example:5432 HTTP/1.1\r\nhost: db.example:5432\r\n\r\nhello";
            client.write_all(ask.as_bytes()).await.expect("written");
            assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));
            client.shutdown().await.expect("half closed");
            let mut heard = String::new();
            client.read_to_string(&mut heard).await.expect("an orderly end");
            heard
        };
        let both = async { tokio::join!(talking, serving).0 };
        assert_eq!(tokio::time::timeout(PATIENCE, both).await.expect("in time"), "hellohello", "{protocol}");
    }
}

#[tokio::test]
async fn http2_has_no_other_protocol_to_go_on_in() {
    let origin = Origin::telling(Terms::http2()).await;
    let server = Server::start(&before(&[origin.address], "protocol = \"http2\"", CHAT));
    let answer = Client::new(server.address).get_with("/", &ASK).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "HTTP/2.0"));
    let heads = origin.seen.heads();
    assert!(ASK.iter().all(|(name, _)| !heads[0].headers.contains_key(*name)), "{heads:?}");
}

/// A switch takes a connection of its own, whatever the service speaks besides.
#[tokio::test]
async fn a_service_that_speaks_both_is_asked_to_switch_in_http1() {
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.write_into(folder.path());
    authority.issue(folder.path(), "service", &["127.0.0.1"]);
    let terms = Terms::tls(folder.path(), "service", &["h2", "http/1.1"]);
    let acceptor = TlsAcceptor::from(terms.tls.expect("TLS"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let keys = "protocol = \"negotiate\"\ntls = { roots = \"roots.crt\" }";
    let text = before(&[listener.local_addr().expect("bound")], keys, CHAT);
    let server = Server::start_among(folder, &format!("threads = 1\n{text}"));
    let accept = async || {
        let (stream, _) = listener.accept().await.expect("a connection");
        acceptor.accept(stream).await.expect("TLS")
    };
    let serving = async {
        let shared = accept().await;
        assert_eq!(shared.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut shared = h2::server::handshake(shared).await.expect("HTTP/2");
        let (_, mut respond) = shared.accept().await.expect("a request").expect("HTTP/2");
        respond.send_response(http::Response::new(()), true).expect("the stream is open");
        let switching = async {
            let mut own = accept().await;
            assert_eq!(own.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            assert!(head(&mut own).await.contains("\r\nupgrade: chat\r\n"));
            own.write_all(GRANT).await.expect("written");
            let mut heard = String::new();
            own.read_to_string(&mut heard).await.expect("the end that the client said");
            own.write_all(heard.repeat(2).as_bytes()).await.expect("written");
            own.shutdown().await.expect("an orderly end");
        };
        let serving = async {
            let (request, mut respond) = shared.accept().await.expect("a request").expect("HTTP/2");
            assert_eq!(request.uri().path(), "/after");
            respond.send_response(http::Response::new(()), true).expect("the stream is open");
            shared.accept().await
        };
        let _ = tokio::join!(switching, serving);
    };
    let talking = async {
        let answer = Client::new(server.address).get("/before").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(chat(server.address).await, "hellohello");
        let answer = Client::new(server.address).get("/after").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    let both = async {
        tokio::select! {
            () = talking => {}
            () = serving => panic!("the shared connection was closed"),
        }
    };
    tokio::time::timeout(PATIENCE, both).await.expect("in time");
}

#[tokio::test]
async fn a_service_without_http1_is_not_asked_to_switch() {
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.write_into(folder.path());
    authority.issue(folder.path(), "service", &["127.0.0.1"]);
    let origin = Origin::telling(Terms::tls(folder.path(), "service", &["h2"])).await;
    let keys = "protocol = \"negotiate\"\ntls = { roots = \"roots.crt\" }";
    let route = format!("{CHAT}\nretry = {{ preset = \"quick\", base = \"1ms\" }}");
    let server = Server::start_among(folder, &before(&[origin.address], keys, &route));
    let answer = Client::new(server.address).get_with("/", &ASK).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "SERVICE_FAILED"));
    assert!(answer.text().contains("it speaks no HTTP/1.1"), "{}", answer.text());
    assert_eq!(answer.header("proxy-status"), Some("intertie; error=http_upgrade_failed"));
    assert!(origin.seen.heads().is_empty(), "it was asked");
    let endpoint = format!("service=\"origin\",endpoint=\"{}\"", origin.address);
    let attempts = format!("intertie_attempts_total{{{endpoint},outcome=\"unjudged\"}}");
    assert_eq!(server.metric(&attempts).await, 1.0, "once, and no breaker hears of it");
    let handshakes = format!("intertie_service_handshakes_total{{{endpoint},outcome=\"no_protocol\"}}");
    assert_eq!(server.metric(&handshakes).await, 1.0);
    let answer = Client::new(server.address).get("/").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "HTTP/2.0"));
}
