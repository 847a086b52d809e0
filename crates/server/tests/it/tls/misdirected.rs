//! Requests on a connection that was opened for another host.

use http::Request;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::authority::Authority;
use super::client::{Client, Session};
use super::{certificate, traffic};
use crate::harness::{Origin, Server, full};

const MISDIRECTED: &str = "intertie_request_errors_total{route=\"\",error=\"MISDIRECTED_REQUEST\"}";

#[tokio::test]
async fn a_host_that_the_certificate_is_not_for_is_answered_421() {
    let origin = Origin::statuses(&[200]).await;
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.issue(folder.path(), "shops", &["shop.example", "*.shop.example"]);
    authority.issue(folder.path(), "bank", &["bank.example"]);
    let certificates = ["shops", "bank"].map(certificate).concat();
    let server =
        Server::start_among(folder, &traffic(&origin, "default_certificate = \"bank\"", &certificates));
    for (name, host, status) in [
        ("shop.example", "shop.example", 200),
        ("shop.example", "SHOP.example:8443", 200),
        ("shop.example", "eu.shop.example", 200),
        ("shop.example", "bank.example", 421),
        ("bank.example", "shop.example", 421),
        ("bank.example", "a.b.shop.example", 200),
        ("shop.example", "unknown.example", 421),
    ] {
        let client = Client::new(&authority).asking_for(name).offering(&["h2"]);
        let stream = client.connect(server.tls).await.expect("a handshake");
        let mut session = Session::open(stream).await.expect("spoken");
        let request = Request::get(format!("https://{host}/")).body(full("")).expect("a request");
        let answered = session.send(request).await.expect("an answer");
        assert_eq!(answered.status, status, "{host} where {name} was asked for");
        if status == 421 {
            assert_eq!(answered.code(), "MISDIRECTED_REQUEST");
        }
    }
    assert_eq!(origin.received().len(), 4, "nothing of them reached the service");
    assert_eq!(server.metric(MISDIRECTED).await, 3.0);
}

/// Version by version the same, and the connection is as good as before.
#[tokio::test]
async fn it_is_answered_so_over_http1_too_and_the_connection_stays() {
    let origin = Origin::statuses(&[200]).await;
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.issue(folder.path(), "shop", &["shop.example"]);
    authority.issue(folder.path(), "bank", &["bank.example"]);
    let server =
        Server::start_among(folder, &traffic(&origin, "", &["shop", "bank"].map(certificate).concat()));
    let stream = Client::new(&authority).asking_for("shop.example").connect(server.tls).await;
    let mut stream = stream.expect("a handshake");
    for (host, status) in [
        ("bank.example", "421 Misdirected Request"),
        ("shop.example", "200 OK"),
        ("SHOP.example:443", "200 OK"),
        ("shop.example.", "200 OK"),
        ("127.0.0.1", "421 Misdirected Request"),
    ] {
        let (head, body) = ask(&mut stream, host).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{host}: {head}");
        assert!(!head.contains("connection: close"), "{host}: {head}");
        assert_eq!(body.contains("MISDIRECTED_REQUEST"), status.starts_with("421"), "{host}: {body}");
    }
    assert_eq!(origin.received().len(), 3, "nothing of them reached the service");
    assert_eq!(server.metric(MISDIRECTED).await, 2.0);
}

/// A client that named nobody in its handshake, as for an address, was promised nobody.
#[tokio::test]
async fn who_named_no_host_in_the_handshake_may_ask_for_any() {
    let origin = Origin::statuses(&[200]).await;
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.issue(folder.path(), "address", &["127.0.0.1"]);
    authority.issue(folder.path(), "shop", &["shop.example"]);
    let certificates = ["address", "shop"].map(certificate).concat();
    let server =
        Server::start_among(folder, &traffic(&origin, "default_certificate = \"address\"", &certificates));
    let stream = Client::new(&authority).asking_for("127.0.0.1").connect(server.tls).await;
    let mut stream = stream.expect("a handshake");
    for host in ["shop.example", "bank.example", "127.0.0.1"] {
        assert!(ask(&mut stream, host).await.0.starts_with("HTTP/1.1 200 OK\r\n"), "{host}");
    }
}

/// Head and body of the answer to a request for `host` in HTTP/1.1.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), host: &str) -> (String, String) {
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    let head = String::from_utf8(head).expect("ASCII");
    let length = head.split_once("content-length: ").expect("a length").1;
    let length = length.split_once("\r\n").expect("a line").0.parse().expect("a number");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.expect("a body");
    (head, String::from_utf8(body).expect("UTF-8"))
}
