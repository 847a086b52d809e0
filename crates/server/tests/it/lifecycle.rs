//! Endpoints and processes come and go.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::harness::{Client, Origin, PATIENCE, Reply, Server, answer, until};

fn two(one: &str, other: &str, service: &str, policy: &str) -> String {
    format!(
        "[service.origin]\nendpoints = [{{ at = \"{one}\" }}, {{ at = \"{other}\" }}]\n{service}\n\n\
         [route.\"/**\"]\nto = \"origin\"\n{policy}\n"
    )
}

#[tokio::test]
async fn health_checks_take_endpoints_out_and_back() {
    let well = Arc::new(AtomicBool::new(true));
    let mood = Arc::clone(&well);
    let sick = Origin::start(move |request| {
        let well = mood.load(Ordering::Relaxed);
        async move {
            let checked = request.path == "/health/ready";
            answer(if well || !checked { 200 } else { 503 }, &[], "sick")
        }
    })
    .await;
    let other = Origin::start(|_| async { answer(200, &[], "other") }).await;
    let service = "health_check = { every = \"200ms\", timeout = \"200ms\" }";
    let server = Server::start(&two(&sick.address.to_string(), &other.address.to_string(), service, ""));
    well.store(false, Ordering::Relaxed);
    server.wait_for(&format!("endpoint_became_unhealthy service=origin endpoint={}", sick.address));
    for _ in 0..10 {
        assert_eq!(Client::new(server.address).get("/").await.text(), "other");
    }
    well.store(true, Ordering::Relaxed);
    server.wait_for(&format!("endpoint_became_healthy service=origin endpoint={}", sick.address));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..10 {
        seen.insert(Client::new(server.address).get("/").await.text());
    }
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn without_a_healthy_endpoint_calls_are_rejected() {
    let sick = Origin::statuses(&[500]).await;
    let traffic = format!(
        "[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\
         health_check = {{ every = \"20ms\", timeout = \"20ms\" }}\n\n[route.\"/**\"]\nto = \"origin\"\n",
        sick.address
    );
    let server = Server::start(&traffic);
    server.wait_for("endpoint_became_unhealthy");
    let answer = Client::new(server.address).get("/").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "NO_ENDPOINT"));
    let (status, text) = server.admin("/health/detailed").await;
    assert_eq!(status, 503);
    assert!(text.contains("\"degraded\""), "{text}");
    assert_eq!(server.admin("/health/ready").await.0, 200, "the server itself is ready");
}

#[tokio::test]
async fn failures_in_a_row_eject_an_endpoint() {
    let (bad, good) = (Origin::statuses(&[500]).await, Origin::statuses(&[200]).await);
    let service = "outlier = { consecutive_failures = 3, ejection = \"1h\", ejection_max = \"1h\" }";
    let server = Server::start(&two(&bad.address.to_string(), &good.address.to_string(), service, ""));
    for _ in 0..20 {
        Client::new(server.address).get("/").await;
    }
    assert_eq!((bad.received().len(), good.received().len()), (3, 17));
    server.wait_for("endpoint_ejected");
}

#[tokio::test]
async fn balancers_spread_as_their_names_say() {
    let (one, other) = (Origin::statuses(&[200]).await, Origin::statuses(&[200]).await);
    for (balance, expected) in [("round_robin", 20), ("weighted_round_robin", 30)] {
        let weight = if balance == "round_robin" { 1 } else { 3 };
        let traffic = format!(
            "[service.origin]\nbalance = \"{balance}\"\nendpoints = [{{ at = \"{}\", weight = {weight} }}, {{ at = \"{}\" }}]\n\n\
             [route.\"/**\"]\nto = \"origin\"\n",
            one.address, other.address
        );
        let server = Server::start(&traffic);
        let before = one.received().len();
        for _ in 0..40 {
            Client::new(server.address).get("/").await;
        }
        assert_eq!(one.received().len() - before, expected, "{balance}");
    }
}

/// A service in a process of its own, so that it can be killed.
struct Killable(std::process::Child);

impl Killable {
    fn start(address: std::net::SocketAddr) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_intertie"))
            .args(["demo-service", "inventory", &address.to_string(), "127.0.0.1:9"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("the service starts");
        Self(child)
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn listens(address: std::net::SocketAddr) {
    let started = Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(started.elapsed() < PATIENCE, "nothing listens on {address}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_do_not_notice_that_a_service_is_killed() {
    let free = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound")
    };
    let (one, other) = (free(), free());
    let mut victim = Killable::start(one);
    let _survivor = Killable::start(other);
    listens(one).await;
    listens(other).await;
    let policy = "retry = { preset = \"quick\", base = \"10ms\", budget_minimum = 100 }\n\
                  circuit_breaker = \"sensitive\"\nattempt_timeout = \"2s\"";
    let server = Server::start(&two(&one.to_string(), &other.to_string(), "", policy));
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (client, stop) = (Client::new(server.address), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut served = 0;
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(client.get("/stock").await.status, 200);
                    served += 1;
                }
                served
            })
        })
        .collect();
    let attempts =
        format!("intertie_attempts_total{{service=\"origin\",endpoint=\"{one}\",outcome=\"success\"}}");
    until(async || server.metric(&attempts).await >= 100.0, "the victim serves").await;
    victim.0.kill().expect("SIGKILL");
    server.wait_for("circuit_breaker_opened");
    let survived =
        format!("intertie_attempts_total{{service=\"origin\",endpoint=\"{other}\",outcome=\"success\"}}");
    let then = server.metric(&survived).await;
    until(async || server.metric(&survived).await >= then + 100.0, "the survivor serves").await;
    stop.store(true, Ordering::Relaxed);
    for task in load {
        assert!(task.await.expect("no caller saw a failure") > 0);
    }
}

#[tokio::test]
async fn a_drain_ends_what_is_under_way_and_takes_nothing_new() {
    let gate = Arc::new(Semaphore::new(0));
    let leave = Arc::clone(&gate);
    let origin = Origin::start(move |_| {
        let leave = Arc::clone(&leave);
        async move {
            leave.acquire().await.expect("open").forget();
            answer(200, &[], "finished")
        }
    })
    .await;
    let mut server =
        Server::start(&two(&origin.address.to_string(), "127.0.0.1:9", "balance = \"least_requests\"", ""));
    let client = Client::new(server.address);
    let under_way = tokio::spawn({
        let client = client.clone();
        async move { client.get("/").await }
    });
    until(async || !origin.received().is_empty(), "the request arrives").await;
    server.signal("TERM");
    server.wait_for("drain_began");
    let started = Instant::now();
    while client.connect().await.is_ok() {
        assert!(started.elapsed() < PATIENCE, "still takes connections");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.admin("/health/ready").await.0, 503);
    gate.add_permits(1);
    assert_eq!(under_way.await.expect("no panic").text(), "finished");
    assert_eq!(server.wait(), Some(0));
    assert!(server.wait_for("server_stopped").contains("connections_cut=0"));
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let origin = Origin::start(|_| async { Reply::Hang }).await;
    let mut server = Server::start_with(
        "drain = \"200ms\"",
        &two(&origin.address.to_string(), "127.0.0.1:9", "balance = \"least_requests\"", ""),
    );
    let client = Client::new(server.address);
    let hanging = tokio::spawn(async move {
        let request = http::Request::get("/").body(crate::harness::full("")).expect("a request");
        client.try_send(request).await
    });
    until(async || !origin.received().is_empty(), "the request arrives").await;
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    assert!(server.wait_for("server_stopped").contains("connections_cut=1"));
    assert!(hanging.await.expect("no panic").is_err());
}

#[tokio::test]
async fn admin_answers_health_and_metrics_and_nothing_else() {
    let origin = Origin::statuses(&[200]).await;
    let server =
        Server::start(&two(&origin.address.to_string(), "127.0.0.1:9", "balance = \"least_requests\"", ""));
    assert_eq!(server.admin("/health/live").await, (200, "{\"status\":\"live\"}".to_owned()));
    assert_eq!(server.admin("/health/ready").await.0, 200);
    assert_eq!(server.admin("/nothing").await.0, 404);
    assert_eq!(Client::new(server.admin).post("/metrics", &[], "").await.status, 405);
    assert_eq!(
        Client::new(server.address).get("/metrics").await.text(),
        "scripted",
        "never on the data listener"
    );
    let (_, text) = server.admin("/metrics").await;
    assert!(text.ends_with("# EOF\n"), "{text}");
}

/// Every process that the demo starts ends with it, also when it is interrupted at an awkward moment.
#[tokio::test]
async fn an_interrupted_demo_leaves_no_process_behind() {
    for (signal, lines) in [("INT", 1), ("TERM", 4), ("KILL", 6)] {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_intertie"))
            .args(["demo", "--fast"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        let mut out = std::io::BufReader::new(demo.stdout.take().expect("piped"));
        for _ in 0..lines {
            std::io::BufRead::read_line(&mut out, &mut String::new()).expect("a line");
        }
        let children = children(demo.id());
        assert!(lines == 1 || children.len() == 5, "{children:?}");
        let sent = Command::new("kill").args([format!("-{signal}"), demo.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        demo.wait().expect("the demo ends");
        let started = Instant::now();
        while children.iter().any(|pid| is_running(*pid)) {
            assert!(started.elapsed() < PATIENCE, "{signal} left processes behind");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("Linux").filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        (stat(pid)?.1 == parent).then_some(pid)
    });
    processes.collect()
}

/// State and parent of a process.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn is_running(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

#[test]
fn the_demo_runs_to_its_summary() {
    let output = Command::new(env!("CARGO_BIN_EXE_intertie"))
        .args(["demo", "--fast"])
        .stdin(Stdio::null())
        .output()
        .expect("the demo runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{text}");
    for part in [
        "what the callers saw",
        "which policy saved what",
        "circuit_breaker_opened",
        "rejected",
        "retry budget",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

#[tokio::test]
async fn the_access_log_has_a_line_for_each_request() {
    let origin = Origin::statuses(&[200]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let path = log.to_str().expect("UTF-8");
    let traffic = format!(
        "[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n[route.\"/orders/**\"]\nto = \"origin\"\n",
        origin.address
    );
    let mut server = Server::start_logging(path, &traffic);
    let client = Client::new(server.address);
    let served = client.get("/orders/7?token=secret").await;
    client.get("/nowhere").await;
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    let written = std::fs::read_to_string(&log).expect("the log");
    let lines: Vec<serde_json::Value> =
        written.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    let first = &lines[0];
    assert_eq!(first["request_id"].as_str(), served.header("x-request-id"));
    assert_eq!((first["path"].as_str(), first["status"].as_u64()), (Some("/orders/7"), Some(200)));
    assert_eq!((first["route"].as_str(), first["attempts"].as_u64()), (Some("/orders/**"), Some(1)));
    assert_eq!(first["endpoint"].as_str(), Some(origin.address.to_string().as_str()));
    assert_eq!(
        (lines[1]["status"].as_u64(), lines[1]["error"].as_str()),
        (Some(404), Some("ROUTE_NOT_FOUND"))
    );
}
