//! TLS towards services: who is trusted, by which name, and what is said when nobody is.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::origin::{Origin, Terms};
use super::{before, series};
use crate::harness::{Client, Server, full, until};
use crate::tls::Authority;

const NAMED: &str = "tls = { roots = \"roots.crt\", server_name = \"orders.example\" }";

/// A folder with an authority in `roots.crt` and a certificate of `orders.example` in `orders`.
fn folder() -> (TempDir, Authority) {
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.write_into(folder.path());
    authority.issue(folder.path(), "orders", &["orders.example"]);
    (folder, authority)
}

async fn handshakes(server: &Server, address: SocketAddr, outcome: &str) -> f64 {
    let labels = format!("service=\"origin\",endpoint=\"{address}\",outcome=\"{outcome}\"");
    server.metric(&format!("intertie_service_handshakes_total{{{labels}}}")).await
}

#[tokio::test]
async fn a_service_is_known_by_its_roots_and_its_name() {
    for (names, keys) in [
        (&["orders.example"][..], NAMED),
        (&["127.0.0.1"], "tls = { roots = \"roots.crt\" }"),
        (&["127.0.0.1"], "tls = { roots = \"roots.crt\", server_name = \"127.0.0.1\" }"),
        (&["*.shop.example"], "tls = { roots = \"roots.crt\", server_name = \"orders.shop.example\" }"),
    ] {
        let (folder, authority) = folder();
        authority.issue(folder.path(), "shown", names);
        let origin = Origin::telling(Terms::tls(folder.path(), "shown", &["http/1.1"])).await;
        let server = Server::start_among(folder, &before(&[origin.address], keys, ""));
        let answer = Client::new(server.address).get("/").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "HTTP/1.1"), "{names:?} {keys}");
        assert_eq!(handshakes(&server, origin.address, "completed").await, 1.0);
    }
}

#[tokio::test]
async fn authorities_of_the_system_are_trusted_where_no_other_is_named() {
    let (folder, authority) = folder();
    authority.issue(folder.path(), "shown", &["127.0.0.1"]);
    let origin = Origin::telling(Terms::tls(folder.path(), "shown", &["http/1.1"])).await;
    let text = before(&[origin.address], "tls = true", "");
    let trusted = folder.path().join("roots.crt");
    let server = Server::start_trusting(&trusted, &text);
    assert_eq!(Client::new(server.address).get("/").await.status, 200);
    Authority::new("roots").write_into(folder.path());
    let server = Server::start_trusting(&trusted, &text);
    assert_eq!(Client::new(server.address).get("/").await.status, 502);
}

/// Each failure is said once in the log, counted, answered with its code, and leaves the request unsent.
#[tokio::test]
async fn each_failure_of_a_handshake_has_its_own_words() {
    let (folder, authority) = folder();
    let foreign = Authority::new("roots");
    foreign.issue(folder.path(), "foreign", &["orders.example"]);
    authority.issue(folder.path(), "misnamed", &["payments.example"]);
    let named = |change: &dyn Fn(&mut CertificateParams)| {
        authority.sign(|parameters| {
            let name = "orders.example".try_into().expect("ASCII");
            parameters.subject_alt_names = vec![SanType::DnsName(name)];
            change(parameters);
        })
    };
    named(&|parameters| parameters.not_after = rcgen::date_time_ymd(2020, 1, 1))
        .write(folder.path(), "expired");
    named(&|parameters| parameters.not_before = rcgen::date_time_ymd(2090, 1, 1))
        .write(folder.path(), "early");
    named(&|parameters| parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth])
        .write(folder.path(), "client");
    let service = async |file: &str| Origin::telling(Terms::tls(folder.path(), file, &["http/1.1"])).await;
    let mut services = Vec::new();
    for (file, outcome, words) in [
        ("foreign", "unknown_issuer", "no authority in the service's `roots` signed its certificate"),
        ("misnamed", "wrong_name", "the service's certificate is for other names"),
        ("expired", "expired", "the service's certificate has expired or is not valid yet"),
        ("early", "expired", "the service's certificate has expired or is not valid yet"),
        ("client", "bad_certificate", "the service's certificate is not good"),
    ] {
        services.push((service(file).await, outcome, words));
    }
    services.push((Origin::telling(Terms::default()).await, "not_tls", "the service does not speak TLS"));
    let wanting = Terms::mutual(folder.path(), "orders", &authority);
    services.push((Origin::telling(wanting).await, "", "the service refuses the gateway's certificate"));
    let h2_only = Terms::tls(folder.path(), "orders", &["h2"]);
    services.push((Origin::telling(h2_only).await, "no_protocol", "does not agree to the version of HTTP"));
    let files = copied(folder.path());
    for (origin, outcome, words) in services {
        let server = Server::start_among(files(), &before(&[origin.address], NAMED, ""));
        let answer = Client::new(server.address).post("/", &[], "once").await;
        assert_eq!(answer.status, 502, "{words}");
        assert!(origin.seen.heads().is_empty(), "{words}: it has seen the request");
        // A service that wants a certificate says so only after the handshake, maybe too late.
        if outcome.is_empty() {
            let said = answer.header("proxy-status");
            let early = Some("intertie; error=tls_alert_received; alert-id=116");
            assert!(said == early || said == Some("intertie; error=connection_terminated"), "{said:?}");
        }
        if !outcome.is_empty() {
            assert_eq!(answer.code(), "SERVICE_UNREACHABLE");
            assert!(answer.text().contains(words), "{words}: {}", answer.text());
            assert_eq!(handshakes(&server, origin.address, outcome).await, 1.0);
            let said = match outcome {
                "not_tls" => "intertie; error=tls_protocol_error",
                "no_protocol" => "intertie; error=tls_alert_received; alert-id=120",
                _ => "intertie; error=tls_certificate_error",
            };
            assert_eq!(answer.header("proxy-status"), Some(said), "{words}");
            let told = server.wait_for("service_handshake_failed");
            let endpoint = format!("service=origin endpoint={} outcome={outcome}", origin.address);
            assert!(told.contains(&endpoint) && told.contains(words), "{told}");
        }
    }
}

/// Makes folders with the same files.
fn copied(folder: &Path) -> impl Fn() -> TempDir {
    move || {
        let copy = TempDir::new().expect("a temporary folder");
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("a file");
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
        }
        copy
    }
}

#[tokio::test]
async fn a_handshake_ends_with_connect_timeout() {
    let (folder, _) = folder();
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = silent.local_addr().expect("bound");
    let keys = format!("{NAMED}\nconnect_timeout = \"200ms\"");
    let server = Server::start_among(folder, &before(&[address], &keys, ""));
    let started = Instant::now();
    let answer = Client::new(server.address).get("/").await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "CONNECT_TIMEOUT"));
    assert_eq!(answer.header("proxy-status"), Some("intertie; error=connection_timeout"));
    assert!(answer.text().contains("no TLS handshake within connect_timeout"), "{}", answer.text());
    assert!(started.elapsed() < Duration::from_secs(5), "the deadline is 30s: {:?}", started.elapsed());
    assert_eq!(handshakes(&server, address, "timed_out").await, 1.0);
}

#[tokio::test]
async fn a_request_that_met_no_trust_goes_to_another_endpoint_whatever_its_method() {
    let (folder, _) = folder();
    Authority::new("other").issue(folder.path(), "foreign", &["orders.example"]);
    let foreign = Origin::telling(Terms::tls(folder.path(), "foreign", &["http/1.1"])).await;
    let good = Origin::telling(Terms::tls(folder.path(), "orders", &["http/1.1"])).await;
    let route = "retry = \"quick\"\nattempt_timeout = \"5s\"";
    let server = Server::start_among(folder, &before(&[foreign.address, good.address], NAMED, route));
    let client = Client::new(server.address);
    for _ in 0..4 {
        assert_eq!(client.post("/", &[], "once").await.status, 200);
    }
    assert_eq!((foreign.seen.heads().len(), good.seen.heads().len()), (0, 4));
    assert!(handshakes(&server, foreign.address, "unknown_issuer").await >= 1.0);
}

#[tokio::test]
async fn the_gateway_shows_its_own_certificate() {
    let (folder, authority) = folder();
    authority.issue(folder.path(), "gateway", &["gateway.example"]);
    let origin = Origin::telling(Terms::mutual(folder.path(), "orders", &authority)).await;
    let keys = NAMED.replace(" }", ", certificate = \"gateway.crt\", key = \"gateway.key\" }");
    let server = Server::start_among(folder, &before(&[origin.address], &keys, ""));
    assert_eq!(Client::new(server.address).get("/").await.status, 200);
}

#[tokio::test]
async fn sessions_are_resumed() {
    let (folder, _) = folder();
    let origin = Origin::start(Terms::tls(folder.path(), "orders", &["http/1.1"]), |_| async {
        let mut answer = http::Response::new(full("once"));
        answer.headers_mut().insert("connection", "close".parse().expect("a value"));
        answer
    })
    .await;
    let server = Server::start_among(folder, &before(&[origin.address], NAMED, ""));
    let client = Client::new(server.address);
    for _ in 0..4 {
        assert_eq!(client.get("/").await.status, 200);
    }
    let counts = (
        handshakes(&server, origin.address, "completed").await,
        handshakes(&server, origin.address, "resumed").await,
    );
    assert_eq!(counts, (1.0, 3.0));
    assert_eq!(origin.seen.connections(), 4);
}

#[tokio::test]
async fn changed_files_retire_the_connections_that_trusted_others() {
    for protocol in ["http1", "http2"] {
        let (folder, _) = folder();
        let offered = if protocol == "http1" { "http/1.1" } else { "h2" };
        let origin = Origin::telling(Terms::tls(folder.path(), "orders", &[offered])).await;
        let keys = format!("{NAMED}\nprotocol = \"{protocol}\"");
        let server = Server::start_among(folder, &before(&[origin.address], &keys, ""));
        let client = Client::new(server.address);
        for _ in 0..3 {
            assert_eq!(client.get("/").await.status, 200);
        }
        let roots = server.folder.path().join("roots.crt");
        let good = std::fs::read(&roots).expect("roots");
        Authority::new("roots").write_into(server.folder.path());
        server.wait_for("service_tls_reloaded services=origin");
        assert_eq!(client.get("/").await.status, 502, "a kept connection was opened under other roots");
        std::fs::write(&roots, "nonsense").expect("written");
        server.wait_for("service_tls_refused cause=\"`");
        std::fs::write(&roots, &good).expect("written");
        server.wait_for_nth("service_tls_reloaded", 2);
        assert_eq!(client.get("/").await.status, 200);
        assert_eq!(server.metric("intertie_service_tls_reloads_total{outcome=\"completed\"}").await, 2.0);
        assert_eq!(server.metric("intertie_service_tls_reloads_total{outcome=\"refused\"}").await, 1.0);
        let opened = server.metric(&series("endpoint_connections_total", origin.address)).await;
        until(async || origin.seen.open() == 1, "connections of old trust are closed").await;
        assert!(opened >= 2.0, "{opened}");
    }
}

/// What we show to a service is looked at as what we show to clients.
#[tokio::test]
async fn a_certificate_of_ours_that_has_expired_is_not_taken() {
    let (folder, authority) = folder();
    authority.issue(folder.path(), "gateway", &["gateway.example"]);
    let origin = Origin::telling(Terms::mutual(folder.path(), "orders", &authority)).await;
    let keys = "tls = { roots = \"roots.crt\", server_name = \"orders.example\", certificate = \"gateway.crt\", \
        key = \"gateway.key\" }";
    let server = Server::start_among(folder, &before(&[origin.address], keys, ""));
    let client = Client::new(server.address);
    assert_eq!(client.get("/").await.status, 200);
    let expired = authority.sign(|parameters| parameters.not_after = rcgen::date_time_ymd(2020, 1, 1));
    expired.write(server.folder.path(), "gateway");
    let told = server.wait_for("service_tls_refused");
    let words = "the certificate of `service.origin.tls` in `gateway.crt` expired at 2020-01-01";
    assert!(told.contains(words), "{told}");
    assert_eq!(server.metric("intertie_service_tls_reloads_total{outcome=\"refused\"}").await, 1.0);
    assert_eq!(client.get("/").await.status, 200, "under the old one");
    authority.issue(server.folder.path(), "gateway", &["gateway.example"]);
    server.wait_for("service_tls_reloaded services=origin");
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn large_bodies_pass_in_both_directions() {
    let (folder, _) = folder();
    for (protocol, offered) in [("http1", "http/1.1"), ("negotiate", "h2")] {
        let origin = Origin::start(Terms::tls(folder.path(), "orders", &[offered]), |request| async {
            let body = http_body_util::BodyExt::collect(request.into_body()).await.expect("a body");
            http::Response::new(full(body.to_bytes()))
        })
        .await;
        let keys = format!("{NAMED}\nprotocol = \"{protocol}\"");
        let server = Server::start_among(copied(folder.path())(), &before(&[origin.address], &keys, ""));
        let body: String = "0123456789abcdef".repeat(3 << 16);
        let answer = Client::new(server.address).post("/", &[], &body).await;
        assert!(answer.status == 200 && answer.body == body, "{protocol}: {}", answer.body.len());
    }
}
