//! The access log: which requests are told, and how much of each.

use std::time::Duration;

use http::Request;

use crate::cli::{folder, intertie};
use crate::harness::{Client, Origin, Server, answer, full};

fn route(origin: &Origin) -> String {
    format!(
        "[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n[route.\"/**\"]\nto = \"origin\"\n",
        origin.address
    )
}

/// The lines of a server with `keys` that has served what `asks` asks.
async fn logged(keys: &str, origin: &Origin, asks: impl AsyncFnOnce(Client)) -> Vec<serde_json::Value> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let mut server = Server::start_logging_as(&format!("{{ to = {log:?}, {keys} }}"), &route(origin));
    asks(Client::new(server.address)).await;
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    let written = std::fs::read_to_string(&log).expect("the log");
    written.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn successes_are_sampled_and_failures_and_slow_requests_always_told() {
    let origin = Origin::start(async |request| match request.path.as_str() {
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(200)).await;
            answer(200, &[], "")
        }
        "/failed" => answer(500, &[], ""),
        "/denied" => answer(403, &[], ""),
        _ => answer(200, &[], ""),
    })
    .await;
    for (sample, expected) in
        [("0%", &["/slow", "/failed", "/denied"][..]), ("100%", &["/quick", "/slow", "/failed", "/denied"])]
    {
        let keys = format!("sample = \"{sample}\", slow = \"150ms\"");
        let lines = logged(&keys, &origin, async |client| {
            for path in ["/quick", "/slow", "/failed", "/denied"] {
                client.get(path).await;
            }
        })
        .await;
        let paths: Vec<_> = lines.iter().filter_map(|line| line["path"].as_str()).collect();
        assert_eq!(paths, expected);
        assert!(lines.iter().all(|line| line.get("sample").is_none()), "none stands for another: {lines:?}");
    }
}

#[tokio::test]
async fn secrets_are_redacted_and_headers_told_by_name() {
    let origin = Origin::statuses(&[200]).await;
    let keys = "query = true, redact = [\"pin\", \"X-Key\"], headers = [\"User-Agent\", \"x-key\"]";
    let lines = logged(keys, &origin, async |client| {
        let request = Request::get("/orders?page=2&p%69n=1234")
            .header("user-agent", "a \"b\"")
            .header("x-key", "secret-key")
            .header("authorization", "Bearer secret-token")
            .header("cookie", "session=secret-session")
            .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
        client.send(request.body(full("")).expect("a request")).await;
    })
    .await;
    let [line] = &lines[..] else { panic!("one request: {lines:?}") };
    assert_eq!(line["path"], "/orders?page=2&p%69n=[redacted]");
    assert_eq!(line["headers"], serde_json::json!({ "user-agent": "a \"b\"", "x-key": "[redacted]" }));
    assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    for secret in ["1234", "secret-key", "secret-token", "secret-session"] {
        assert!(!line.to_string().contains(secret), "{line}");
    }
    let origin = Origin::statuses(&[200]).await;
    let lines = logged("query = true", &origin, async |client| {
        client.get("/orders?Token=secret").await;
    })
    .await;
    assert_eq!(lines[0]["path"], "/orders?Token=[redacted]", "by default too");
}

#[tokio::test]
async fn a_sampled_log_is_planned_with_and_the_report_says_what_is_missing() {
    let origin = Origin::statuses(&[200]).await;
    let lines = logged("sample = \"50%\"", &origin, async |client| {
        for _ in 0..40 {
            client.get("/orders").await;
        }
    })
    .await;
    assert!(!lines.is_empty() && lines.len() < 40, "{}", lines.len());
    assert!(lines.iter().all(|line| line["sample"] == "50%"), "{lines:?}");
    let folder = folder(route(&origin));
    let log: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(folder.path().join("access.log"), log).expect("written");
    let run = intertie(folder.path(), &["plan", "intertie.toml", "intertie.toml", "--log", "access.log"]);
    let told = format!("{} stand for others that a sampled log left out", lines.len());
    assert!(run.code == 0 && run.stdout.contains(&told), "{}\n{}", run.stdout, run.stderr);
}

#[tokio::test]
async fn a_log_that_nobody_reads_slows_no_request_and_drops_are_counted() {
    let origin = Origin::statuses(&[200]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let made = std::process::Command::new("mkfifo").arg(&log).status().expect("mkfifo runs");
    assert!(made.success());
    // Open on both sides, so that the server's opening does not wait; read by nobody.
    let _idle = std::fs::OpenOptions::new().read(true).write(true).open(&log).expect("a pipe");
    let server = Server::start_logging_as(&format!("{{ to = {log:?}, queue = 4 }}"), &route(&origin));
    let client = Client::new(server.address);
    let path = format!("/{}", "a".repeat(7_000));
    // The pipe takes 64 KiB, and the writer and the queue a few lines more.
    for _ in 0..40 {
        assert_eq!(client.get(&path).await.status, 200);
    }
    let dropped = server.metric("intertie_access_log_dropped_total").await;
    assert!((10.0..36.0).contains(&dropped), "{dropped}");
}
