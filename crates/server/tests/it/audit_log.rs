//! The audit log: what policies and operators decided, in a file of its own.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Client, Origin, Server, until};

fn lines(log: &Path) -> Vec<Value> {
    let written = std::fs::read_to_string(log).unwrap_or_default();
    written.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn named<'a>(lines: &'a [Value], name: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == name).collect()
}

fn traffic(origin: &Origin, keys: &str) -> String {
    format!(
        "[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n[route.\"/**\"]\nto = \"origin\"\n{keys}\n",
        origin.address
    )
}

#[tokio::test]
async fn it_tells_what_policies_decided_and_what_reloads_changed() {
    let origin = Origin::statuses(&[500]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("audit.log");
    let audit = format!("[server.audit_log]\nto = {log:?}\nrejections_every = \"0s\"\n");
    let breaker = "circuit_breaker = { preset = \"sensitive\", failures = 1, open = \"1h\" }";
    let mut server = Server::start_with(&audit, &traffic(&origin, breaker));
    let client = Client::new(server.address);
    client.get("/").await;
    let rejected = client.get("/").await;
    assert_eq!(rejected.code(), "CIRCUIT_OPEN");
    server.rewrite(&audit, &traffic(&origin, "deadline = \"1s\""));
    server.signal("HUP");
    server.wait_for("config_reloaded");
    server.rewrite(&audit, "[route.wrong]");
    server.signal("HUP");
    server.wait_for("config_refused");
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    let lines = lines(&log);
    let sequence: Vec<_> = lines.iter().filter_map(|line| line["sequence"].as_u64()).collect();
    assert_eq!(sequence, (0..lines.len() as u64).collect::<Vec<_>>(), "no gaps");
    assert!(lines.iter().all(|line| line["pid"] == server.process()), "{lines:?}");
    assert_eq!(lines[0]["event"], "server_started");
    assert_eq!(lines[lines.len() - 1]["event"], "server_stopped");
    assert_eq!(named(&lines, "circuit_breaker_opened")[0]["cause"], "failures");
    let rejections = named(&lines, "request_rejected");
    let [rejection] = &rejections[..] else { panic!("one rejection: {rejections:?}") };
    for (name, value) in [
        ("policy", "circuit_breaker"),
        ("route", "/**"),
        ("client", "127.0.0.1"),
        ("code", "CIRCUIT_OPEN"),
        ("request_id", rejected.header("x-request-id").expect("an id")),
    ] {
        assert_eq!(rejection[name], value, "{name}");
    }
    assert_eq!(named(&lines, "config_reloaded")[0]["changed"], "route./**");
    assert!(!named(&lines, "config_refused").is_empty());
    assert_eq!(server.count("request_rejected"), 0, "the event log is spared");
    let mode = std::fs::metadata(&log).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for its owner alone");
}

#[tokio::test]
async fn a_flood_of_rejections_is_bounded_and_counted() {
    let origin = Origin::statuses(&[200]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("audit.log");
    let audit = format!("threads = 1\n[server.audit_log]\nto = {log:?}\nrejections_every = \"300ms\"\n");
    let server = Server::start_with(&audit, &traffic(&origin, "rate_limiter = { limit = \"1/h\" }"));
    let client = Client::new(server.address);
    for _ in 0..6 {
        client.get("/").await;
    }
    let told = || named(&lines(&log), "request_rejected").len();
    until(async || client.get("/").await.status == 429 && told() > 1, "one more is told").await;
    let lines = lines(&log);
    let untold = named(&lines, "request_rejected")[1]["untold_before"].as_str().map(str::parse::<u64>);
    assert!(untold.is_some_and(|untold| untold.is_ok_and(|untold| untold >= 4)), "{lines:?}");
}

#[tokio::test]
async fn what_its_queue_can_not_hold_is_told_and_no_request_waits() {
    let origin = Origin::statuses(&[200]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("audit.log");
    assert!(std::process::Command::new("mkfifo").arg(&log).status().expect("mkfifo runs").success());
    let mut reader = std::fs::OpenOptions::new().read(true).write(true).open(&log).expect("a pipe");
    let audit = format!("[server.audit_log]\nto = {log:?}\nqueue = 5\nrejections_every = \"0s\"\n");
    let server = Server::start_with(&audit, &traffic(&origin, "rate_limiter = { limit = \"1/h\" }"));
    let client = Client::new(server.address);
    // The pipe holds 64 KiB, then the writer waits, and then the queue is full.
    let mut asked = 0;
    let lost = async || server.metric("intertie_audit_log_lost_total").await > 0.0;
    until(
        async || {
            asked += 1;
            client.get("/").await.status != 0 && asked % 20 == 0 && lost().await
        },
        "the queue is full",
    )
    .await;
    let (sender, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut all, mut piece) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&all).contains("\"events_lost\"") {
            let read = std::io::Read::read(&mut reader, &mut piece).expect("a pipe");
            all.extend(&piece[..read]);
        }
        let _ = sender.send(());
    });
    until(async || client.get("/").await.status == 429 && told.try_recv().is_ok(), "the loss is told").await;
}
