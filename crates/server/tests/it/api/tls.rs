//! The API away from loopback: with TLS and tokens.

use std::process::Command;

use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::cli::intertie;
use crate::harness::{OWN, Server};
use crate::tls::{Authority, Client};

const SECRET: &str = "a-secret-that-is-long-enough";

fn started(authority: &Authority) -> Server {
    let folder = tempfile::tempdir().expect("a temporary folder");
    authority.issue(folder.path(), "api", &["api.example"]);
    authority.write_into(folder.path());
    std::fs::write(folder.path().join("token"), SECRET).expect("written");
    let text = format!(
        "{OWN}api = \"0.0.0.0:0\"\napi_certificate = \"api\"\n\n\
         [certificate.api]\nchain = \"api.crt\"\nkey = \"api.key\"\n\n[queue.orders]\n\n\
         [token.shop]\nsecret = \"file:token\"\nallow = [\"* *\"]\n"
    );
    let mut server = Server::start_by(folder, Command::new(env!("CARGO_BIN_EXE_intertie")), &text);
    server.api.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    server
}

fn request() -> http::Request<crate::harness::AnyBody> {
    let bearer = format!("Bearer {SECRET}");
    let headers = [("host", "api.example"), ("authorization", bearer.as_str())];
    super::request(http::Method::GET, "https://api.example/api/v1/queues", &headers, "")
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_over_tls_and_nothing_without_it() {
    let authority = Authority::new("authority");
    let server = started(&authority);
    let client = || Client::new(&authority).asking_for("api.example");
    let stream = client().offering(&["http/1.1"]).connect(server.api).await.expect("a handshake");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    assert_eq!(sender.send_request(request()).await.expect("an answer").status(), 200);
    let stream = client().offering(&["h2"]).connect(server.api).await.expect("a handshake");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    tokio::spawn(connection);
    let answer = sender.send_request(request()).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("\"orders\""));
    let plain = crate::harness::Client::new(server.api).try_send(request()).await;
    plain.expect_err("no HTTP without TLS");
    assert_eq!(server.metric("intertie_api_handshakes_failed_total").await, 1.0);
}

#[tokio::test]
async fn the_command_line_speaks_tls_to_whom_it_is_told() {
    let authority = Authority::new("authority");
    let server = started(&authority);
    let api = server.api.to_string();
    let folder = server.folder.path();
    let common = ["queue", "list", "--api", &api, "--token", "file:token"];
    let listed =
        intertie(folder, &[&common[..], &["--tls", "api.example", "--roots", "authority.crt"]].concat());
    assert!(listed.code == 0 && listed.stdout.contains("orders"), "{listed:?}");
    let other =
        intertie(folder, &[&common[..], &["--tls", "other.example", "--roots", "authority.crt"]].concat());
    assert!(other.code == 1 && other.stderr.contains("TLS with `other.example`"), "{other:?}");
    let unsaid = intertie(folder, &["queue", "list"]);
    assert!(unsaid.code == 2 && unsaid.stderr.contains("--tls"), "{unsaid:?}");
}

#[tokio::test]
async fn a_reload_opens_nothing_to_everyone() {
    let authority = Authority::new("authority");
    let server = started(&authority);
    let connected = || async {
        let client = Client::new(&authority).asking_for("api.example").offering(&["http/1.1"]);
        let stream = client.connect(server.api).await.expect("a handshake");
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        sender
    };
    // Good as a file: it would listen on loopback, once it is started with it.
    server.rewrite("api = \"127.0.0.1:0\"\n", "[queue.orders]\n");
    server.signal("HUP");
    let refused = server.wait_for("config_refused");
    assert!(refused.contains("it would serve everyone"), "{refused}");
    let anyone = super::request(
        http::Method::GET,
        "https://api.example/api/v1/queues",
        &[("host", "api.example")],
        "",
    );
    let denied = connected().await.send_request(anyone).await.expect("an answer");
    assert_eq!(denied.status(), 401);
    assert_eq!(connected().await.send_request(request()).await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn a_certificate_is_renewed_without_a_restart() {
    let authority = Authority::new("authority");
    let server = started(&authority);
    let client = || Client::new(&authority).asking_for("api.example");
    let before = client().shown(server.api).await.expect("a certificate");
    authority.issue(server.folder.path(), "api", &["api.example"]);
    server.wait_for("api_tls_reloaded");
    let after = client().shown(server.api).await.expect("a certificate");
    assert_ne!(before, after);
}
