//! Metrics and health: what others' tools make of them, and that their number follows from the file.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::cli::{check, folder, intertie};
use crate::clients::require;
use crate::harness::{Client, Origin, Reply, Server, answer, until};
use crate::tls::Authority;

fn file(origin: &Origin, server: &str, policy: &str) -> String {
    format!(
        "{server}\n[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n[route.\"/orders/{{id}}\"]\nto = \"origin\"\n{policy}\n",
        origin.address
    )
}

const POLICIES: &str = "rate_limiter = { limit = \"1000/s\" }\nbulkhead = { concurrent = 5 }\nretry = \"quick\"\n\
                        attempt_timeout = \"1s\"\ncircuit_breaker = \"standard\"\n";

#[tokio::test]
async fn promtool_has_nothing_against_them() {
    require("promtool", "prometheus");
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&file(&origin, "", POLICIES));
    Client::new(server.address).get("/orders/7").await;
    let (_, text) = server.admin("/metrics").await;
    // promtool reads Prometheus's older text: without an end mark, and with `_total` in the names of counters.
    let counters: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .map(str::to_owned)
        .collect();
    let older = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
        ["#", what, name, ref rest @ ..] if counters.iter().any(|counter| counter == name) => {
            format!("# {what} {name}_total {}\n", rest.join(" "))
        }
        _ => format!("{line}\n"),
    };
    let text: String = text.lines().filter(|line| *line != "# EOF").map(older).collect();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
    let output = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

#[tokio::test]
async fn their_number_follows_from_the_file_and_never_from_the_traffic() {
    let origin = Origin::statuses(&[200, 404, 503]).await;
    let text = file(&origin, "", POLICIES);
    let server = Server::start(&text);
    let series = async || {
        let (_, text) = server.admin("/metrics").await;
        text.lines().filter(|line| !line.starts_with('#')).count()
    };
    let before = series().await;
    let client = Client::new(server.address);
    for number in 0..20 {
        client.get(&format!("/orders/{number}")).await;
        client.get(&format!("/{number}/{number}")).await;
    }
    assert_eq!(series().await, before);
    let said = check(&text, 0, &["series of metrics: at most "]).stdout;
    let line =
        said.lines().find_map(|line| line.strip_prefix("series of metrics: at most ")).expect("a line");
    let most: usize = line.split(' ').next().expect("a number").parse().expect("a number");
    assert!(before <= most, "{before} of {most}");
    for (max, code) in [(most, 0), (most - 1, 2)] {
        let text = file(&origin, &format!("[server]\nmetric_series_max = {max}\n"), POLICIES);
        let words = format!(
            "the file makes up to {most} series of metrics, and metric_series_max is {max}; of them "
        );
        let run = check(&text, code, &[]);
        assert_eq!(run.stderr.contains(&words), code == 2, "{}", run.stderr);
    }
}

#[tokio::test]
async fn certificates_count_among_the_series() {
    let origin = Origin::statuses(&[200]).await;
    let authority = Authority::new("clients");
    let most = |count: usize| {
        let certificate =
            |name| format!("[certificate.{name}]\nchain = \"{name}.crt\"\nkey = \"{name}.key\"\n");
        let names: Vec<_> = (0..count).map(|number| format!("shop{number}")).collect();
        let certificates: String = names.iter().map(certificate).collect();
        let tls = format!("[server]\nlisten = []\n[tls]\nlisten = [\"127.0.0.1:8443\"]\n{certificates}");
        let folder = folder(file(&origin, &tls, ""));
        for name in &names {
            authority.issue(folder.path(), name, &[&format!("{name}.example")]);
        }
        let run = intertie(folder.path(), &["check", "intertie.toml"]);
        let most = run.stdout.lines().find_map(|line| line.strip_prefix("series of metrics: at most "));
        let most = most.and_then(|line| line.split(' ').next()?.parse::<usize>().ok());
        most.unwrap_or_else(|| panic!("{}{}", run.stdout, run.stderr))
    };
    assert_eq!(most(7), most(1) + 6);
}

#[tokio::test]
async fn errors_are_counted_by_their_kind() {
    let origin = Origin::start(async |request| match request.path.as_str() {
        "/orders/hang" => Reply::Hang,
        _ => answer(200, &[], ""),
    })
    .await;
    let server = Server::start(&file(&origin, "", "attempt_timeout = \"50ms\"\n"));
    let client = Client::new(server.address);
    client.get("/orders/1").await;
    client.get("/orders/hang").await;
    client.get("/nowhere").await;
    let errors = async |route: &str, error: &str| {
        server.metric(&format!("intertie_request_errors_total{{route=\"{route}\",error=\"{error}\"}}")).await
    };
    assert_eq!(errors("/orders/{id}", "ATTEMPT_TIMEOUT").await, 1.0);
    assert_eq!(errors("/orders/{id}", "SERVICE_FAILED").await, 0.0);
    assert_eq!(errors("", "ROUTE_NOT_FOUND").await, 1.0);
}

#[tokio::test]
async fn what_the_process_uses_is_shown_beside_what_it_may() {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start_with("threads = 2", &file(&origin, "", ""));
    let client = Client::new(server.address);
    let descriptors = server.metric("intertie_process_descriptors").await;
    let open = client.connect().await.expect("connects");
    let more = async || server.metric("intertie_process_descriptors").await > descriptors;
    until(more, "an open connection is a descriptor").await;
    drop(open);
    assert!(server.metric("intertie_process_descriptors_max").await >= 256.0);
    assert!(server.metric("intertie_process_memory_bytes").await > 1e6);
    assert!(server.metric("intertie_process_threads").await >= 3.0);
    assert_eq!(server.metric("intertie_gateway_connections_max").await, 10_000.0);
    let busy = async || {
        let threads =
            [0, 1].map(|thread| format!("intertie_data_thread_busy_seconds_total{{thread=\"{thread}\"}}"));
        server.metric(&threads[0]).await + server.metric(&threads[1]).await
    };
    let before = busy().await;
    let works = async || {
        client.get("/orders/1").await;
        busy().await > before
    };
    until(works, "requests keep a data thread busy").await;
}

#[tokio::test]
async fn health_tells_of_each_dependency_and_readiness_follows_what_is_declared() {
    let origin = Origin::statuses(&[500]).await;
    let breaker = "circuit_breaker = { preset = \"sensitive\", failures = 1, open = \"1h\" }";
    let text =
        |needs: &str| file(&origin, "", breaker) + &format!("\n[server.ready]\nservices = [{needs}]\n");
    let needed = Server::start(&text("\"origin\""));
    assert_eq!(needed.admin("/health/ready").await, (200, "{\"status\":\"ready\"}".to_owned()));
    Client::new(needed.address).get("/orders/1").await;
    let (status, document) = needed.admin("/health/detailed").await;
    let document: serde_json::Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!((status, &document["status"]), (503, &"degraded".into()));
    let service = &document["services"]["origin"];
    assert_eq!(service["status"], "unusable");
    let counts = serde_json::json!({ "all": 1, "usable": 0, "unhealthy": 0, "ejected": 0, "open": 1 });
    assert_eq!(service["counts"], counts);
    let endpoint = &service["endpoints"][0];
    assert_eq!((&endpoint["circuit_breaker"]["state"], &endpoint["healthy"]), (&"open".into(), &true.into()));
    assert_eq!(endpoint["last_failure"]["cause"], "transient");
    assert!(endpoint["last_failure"]["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{endpoint}");
    for number in ["pid", "memory_bytes", "threads", "descriptors", "descriptors_max"] {
        assert!(
            document["process"][number].as_u64().is_some_and(|number| number > 0),
            "{number}: {document}"
        );
    }
    let (status, said) = needed.admin("/health/ready").await;
    assert_eq!((status, said.as_str()), (503, "{\"missing\":[\"origin\"],\"status\":\"waiting\"}"));
    needed.rewrite("", &text(""));
    needed.signal("HUP");
    needed.wait_for("config_reloaded");
    assert_eq!(needed.admin("/health/ready").await.0, 200, "the reloaded file asks for none");
}

#[tokio::test]
async fn a_failed_health_check_is_the_last_failure() {
    let origin = Origin::statuses(&[500]).await;
    let service = format!(
        "[service.origin]\nendpoints = [{{ at = \"{}\" }}]\nhealth_check = {{ every = \"50ms\", timeout = \"50ms\" }}\n\n\
         [route.\"/**\"]\nto = \"origin\"\n",
        origin.address
    );
    let server = Server::start(&service);
    let told = async || {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let (_, document) = server.admin("/health/detailed").await;
        document.contains("health check: answered 500")
    };
    until(told, "the check fails").await;
}
