//! How connections begin, and what services are told of them.

use std::process::Command;
use std::time::{Duration, Instant};

use rustls::version;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::authority::Authority;
use super::client::{Client, Session};
use super::{certificate, shop, traffic};
use crate::harness::{Origin, PATIENCE, Server, until};

async fn handshakes(server: &Server, outcome: &str) -> f64 {
    server.metric(&format!("intertie_tls_handshakes_total{{outcome=\"{outcome}\"}}")).await
}

#[tokio::test]
async fn alpn_chooses_the_protocol_on_one_port() {
    let (server, authority, origin) = shop("").await;
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&["h2"], Some("h2")),
        (&[], None),
    ] {
        let stream =
            Client::new(&authority).offering(offered).connect(server.tls).await.expect("a handshake");
        let protocol =
            stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        assert_eq!(protocol.as_deref(), agreed);
        let mut session = Session::open(stream).await.expect("spoken");
        for _ in 0..2 {
            assert_eq!(session.get(&[]).await.expect("an answer").status, 200);
        }
    }
    let received = origin.received();
    assert_eq!(received.len(), 8);
    for request in received {
        assert_eq!(request.headers["x-forwarded-proto"], "https");
        assert_eq!(request.headers["x-forwarded-host"], "shop.example");
    }
    let stranger = Client::new(&authority).offering(&["smtp"]).connect(server.tls).await;
    assert!(stranger.is_err(), "no protocol in common");
    assert_eq!((handshakes(&server, "completed").await, handshakes(&server, "failed").await), (4.0, 1.0));
    let plain = crate::harness::Client::new(server.address).get("/").await;
    assert_eq!(plain.status, 200);
    assert_eq!(origin.received()[8].headers["x-forwarded-proto"], "http");
}

#[tokio::test]
async fn the_version_is_bounded_and_logged() {
    for (keys, spoken) in [("", 2), ("minimum_version = \"1.3\"", 1)] {
        let (server, authority, _origin) = shop(keys).await;
        let mut served = 0;
        for version in [&version::TLS13, &version::TLS12] {
            served += usize::from(Client::speaking(&authority, &[version], None).is_served(server.tls).await);
        }
        assert_eq!(served, spoken, "{keys}");
        let log = server.folder.path().join("access.log");
        let lines = || std::fs::read_to_string(&log).expect("a log");
        until(async || lines().lines().count() == spoken, "each request has its line").await;
        let versions = |version: &str| lines().matches(&format!(" tls={version}")).count();
        assert_eq!((versions("1.3"), versions("1.2")), (1, spoken - 1), "{}", lines());
    }
}

#[tokio::test]
async fn the_name_chooses_the_certificate() {
    let origin = Origin::statuses(&[200]).await;
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    let names = ["shop.example", "*.shop.example", "api.shop.example"];
    for (file, name) in ["exact", "wild", "api"].into_iter().zip(names) {
        authority.issue(folder.path(), file, &[name]);
    }
    let certificates = ["exact", "wild", "api"].map(certificate).concat();
    let server = Server::start_among(folder, &traffic(&origin, "", &certificates));
    let pem = |file: &str| {
        let path = server.folder.path().join(format!("{file}.crt"));
        let bytes = std::fs::read(path).expect("written");
        rustls::pki_types::pem::PemObject::from_pem_slice(&bytes).expect("a certificate")
    };
    for (name, file) in [("shop.example", "exact"), ("www.shop.example", "wild"), ("API.shop.example", "api")]
    {
        let shown = Client::new(&authority).asking_for(name).shown(server.tls).await;
        assert_eq!(shown, Some(pem(file)), "{name}");
    }
    for name in ["other.example", "a.b.shop.example", "127.0.0.1"] {
        let client = Client::new(&authority).asking_for(name);
        assert_eq!(client.shown(server.tls).await, None, "{name}");
    }
    until(async || handshakes(&server, "unknown_name").await == 3.0, "each is counted").await;
    server.wait_for("tls_handshake_failed client=127.0.0.1 outcome=unknown_name");
}

#[tokio::test]
async fn a_default_certificate_is_for_everybody_else() {
    let origin = Origin::statuses(&[200]).await;
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.issue(folder.path(), "shop", &["shop.example"]);
    authority.issue(folder.path(), "address", &["127.0.0.1"]);
    let certificates = ["shop", "address"].map(certificate).concat();
    let server =
        Server::start_among(folder, &traffic(&origin, "default_certificate = \"address\"", &certificates));
    assert!(Client::new(&authority).is_served(server.tls).await);
    assert!(Client::new(&authority).asking_for("127.0.0.1").is_served(server.tls).await);
    let other = Client::new(&authority).asking_for("other.example");
    assert!(!other.is_served(server.tls).await, "the client refuses a certificate of another name");
    until(async || handshakes(&server, "refused").await == 1.0, "the client says why").await;
}

#[tokio::test]
async fn sessions_are_resumed_on_every_thread() {
    let (server, authority, _origin) = shop("").await;
    let client = Client::new(&authority);
    for _ in 0..6 {
        assert!(client.is_served(server.tls).await);
    }
    assert_eq!((handshakes(&server, "completed").await, handshakes(&server, "resumed").await), (1.0, 5.0));
}

#[tokio::test]
async fn a_slow_handshake_is_cut_off() {
    let (server, authority, _origin) = shop("handshake_timeout = \"300ms\"").await;
    // A record of a ClientHello that never comes to its end.
    let beginning = [0x16, 3, 1, 1, 0, 1, 0, 0, 0xfc, 3, 3];
    for said in [&beginning[..], &[]] {
        let started = Instant::now();
        let mut slow = TcpStream::connect(server.tls).await.expect("connects");
        slow.write_all(said).await.expect("written");
        let mut heard = Vec::new();
        let read = tokio::time::timeout(PATIENCE, slow.read_to_end(&mut heard)).await.expect("cut off");
        assert!(read.is_err() || heard.is_empty(), "{heard:?}");
        assert!(started.elapsed() >= Duration::from_millis(300));
    }
    until(async || handshakes(&server, "timed_out").await == 2.0, "both are counted").await;
    server.wait_for("outcome=timed_out");
    assert!(Client::new(&authority).is_served(server.tls).await);
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_so() {
    let (server, _authority, origin) = shop("").await;
    let mut plain = TcpStream::connect(server.tls).await.expect("connects");
    plain.write_all(b"GET / HTTP/1.1\r\nhost: shop.example\r\n\r\n").await.expect("written");
    let mut heard = String::new();
    let _ = plain.read_to_string(&mut heard).await;
    assert!(
        heard.starts_with("HTTP/1.1 400 ") && heard.ends_with("ask for https instead of http"),
        "{heard}"
    );
    let (head, body) = heard.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    drop(TcpStream::connect(server.tls).await.expect("connects"));
    until(async || handshakes(&server, "client_left").await == 1.0, "who leaves is counted").await;
    assert_eq!(handshakes(&server, "not_tls").await, 1.0);
    assert!(origin.received().is_empty());
}

#[tokio::test]
async fn large_answers_arrive_whole_at_a_slow_reader() {
    const LARGE: usize = 4 << 20;
    let origin =
        Origin::start(|_| async { crate::harness::answer(200, &[], &"0123456789abcdef".repeat(LARGE / 16)) })
            .await;
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.issue(folder.path(), "shop", &["shop.example"]);
    let server = Server::start_among(folder, &traffic(&origin, "", &certificate("shop")));
    for offered in ["h2", "http/1.1"] {
        let client = Client::new(&authority).offering(&[offered]);
        let mut session =
            Session::open(client.connect(server.tls).await.expect("connects")).await.expect("spoken");
        let answer = session.get(&[]).await.expect("an answer");
        assert_eq!(answer.body.len(), LARGE);
        assert!(answer.body.chunks(16).all(|chunk| chunk == b"0123456789abcdef"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_gets_its_answer() {
    let (server, _authority, _origin) = shop("").await;
    for (version, said) in [("--http1.1", "1.1 200"), ("--http2", "2 200")] {
        let run = Command::new("curl")
            .args(["--silent", "--show-error", version, "--write-out", "%{http_version} %{http_code}"])
            .args(["--output", "/dev/null", "--cacert"])
            .arg(server.folder.path().join("roots.crt"))
            .args(["--resolve", &format!("shop.example:{}:127.0.0.1", server.tls.port())])
            .arg(format!("https://shop.example:{}/", server.tls.port()))
            .output()
            .expect("curl runs");
        let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert_eq!(out, said, "{err}");
    }
}
