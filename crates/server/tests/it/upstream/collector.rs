//! Traces that go to a collector over TLS.

use http::Response;

use super::origin::{Origin, Terms};
use crate::harness::{Client, Server, full, until};
use crate::tls::Authority;

/// A server that records all traces, sent to `collector` under `tls`.
fn recording(folder: tempfile::TempDir, collector: &Origin, tls: &str) -> Server {
    Server::start_among(
        folder,
        &format!(
            "[server.traces]\nendpoint = \"https://{}\"\nsample = \"100%\"\n{tls}\n\n\
             [service.shop]\nendpoints = [{{ at = \"127.0.0.1:1\" }}]\n\n\
             [route.shop]\nmatch = {{ path = \"/**\" }}\nto = \"shop\"\n",
            collector.address
        ),
    )
}

async fn collector(terms: Terms) -> Origin {
    Origin::start(terms, async |_| Response::new(full(""))).await
}

fn folder() -> (tempfile::TempDir, Authority) {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.write_into(folder.path());
    authority.issue(folder.path(), "collector", &["collector.example"]);
    authority.issue(folder.path(), "gateway", &["gateway.example"]);
    (folder, authority)
}

#[tokio::test]
async fn spans_reach_a_collector_that_is_trusted_and_that_trusts_us() {
    let (folder, authority) = folder();
    let collector = collector(Terms::mutual(folder.path(), "collector", &authority)).await;
    let keys = "tls = { roots = \"roots.crt\", server_name = \"collector.example\", \
                certificate = \"gateway.crt\", key = \"gateway.key\" }";
    let server = recording(folder, &collector, keys);
    Client::new(server.address).get("/").await;
    until(async || server.metric("intertie_trace_spans_exported_total").await >= 1.0, "they arrive").await;
    let head = collector.seen.heads().pop().expect("a message");
    assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/v1/traces"));
}

#[tokio::test]
async fn a_collector_that_is_not_trusted_gets_nothing() {
    let (folder, _) = folder();
    // Of the same name, by whom nobody knows.
    Authority::new("roots").issue(folder.path(), "foreign", &["collector.example"]);
    for (file, name) in [("foreign", "collector.example"), ("collector", "other.example")] {
        let copy = tempfile::TempDir::new().expect("a temporary folder");
        std::fs::copy(folder.path().join("roots.crt"), copy.path().join("roots.crt")).expect("copied");
        let collector = collector(Terms::tls(folder.path(), file, &["http/1.1"])).await;
        let keys = format!(
            "tls = {{ roots = \"roots.crt\", server_name = \"{name}\" }}\ntimeout = \"1s\"\ndeadline = \"2s\""
        );
        let server = recording(copy, &collector, &keys);
        Client::new(server.address).get("/").await;
        let told = server.wait_for("trace_export_failed");
        assert!(told.contains("no TLS handshake with the collector"), "{told}");
        assert!(collector.seen.heads().is_empty());
        let dropped = "intertie_trace_spans_dropped_total{cause=\"collector\"}";
        until(async || server.metric(dropped).await >= 1.0, "they are counted").await;
    }
}

#[test]
fn explain_tells_the_terms() {
    let (folder, _) = folder();
    let text = "[server.traces]\nendpoint = \"https://c.example:4318\"\ntls = { roots = \"roots.crt\" }\n\n";
    std::fs::write(folder.path().join("intertie.toml"), format!("{text}{}", crate::cli::GOOD))
        .expect("written");
    let run = crate::cli::intertie(folder.path(), &["explain", "intertie.toml", "GET", "/"]);
    for line in [
        "endpoint         https://c.example:4318/v1/traces  (intertie.toml:2)",
        "tls.roots        roots.crt  (intertie.toml:3)",
        "tls.server_name  the host of the endpoint  (built-in default)",
        "tls.certificate  none  (built-in default)",
    ] {
        assert!(run.stdout.contains(line), "no `{line}` in\n{}", run.stdout);
    }
}
