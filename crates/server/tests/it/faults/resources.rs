//! What happens when the machine has no more ports or descriptors to give: nobody is blamed for it, and all is
//! well again when it has.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::alone::alone;
use crate::harness::{Answer, Client, OWN, Origin, Server, full, until};

const POLICY: &str = "retry = { attempts = 2, base = \"1ms\", budget_minimum = 100 }\n\
     circuit_breaker = { preset = \"sensitive\", failures = 2 }\n";

fn traffic(service: SocketAddr) -> String {
    format!(
        "[service.origin]\nendpoints = [{{ at = \"{service}\" }}]\n\n[route.\"/**\"]\nto = \"origin\"\n{POLICY}"
    )
}

/// A program that starts the server under other limits.
fn starting_with(folder: &Path, command: &str) -> String {
    let program = folder.join("server");
    let binary = env!("CARGO_BIN_EXE_intertie");
    std::fs::write(&program, format!("#!/bin/sh\n{command}\nexec {binary:?} \"$@\"\n")).expect("written");
    let made = Command::new("chmod").arg("+x").arg(&program).status();
    assert!(made.expect("chmod runs").success());
    program.to_str().expect("UTF-8").to_owned()
}

/// Nobody's fault: it counts as unjudged, opens no breaker, and is over when it is over. Each of the `refused`
/// requests was tried twice, and is told in the access log and counted as refused.
async fn check_unblamed(server: &Server, log: &Path, service: SocketAddr, refused: usize) {
    let failed = 2.0 * refused as f64;
    let labels = format!("service=\"origin\",endpoint=\"{service}\"");
    let series = format!("intertie_attempts_total{{{labels},outcome=\"unjudged\"}}");
    assert_eq!(server.metric(&series).await, failed);
    let series = format!("intertie_attempts_total{{{labels},outcome=\"transient\"}}");
    assert_eq!(server.metric(&series).await, 0.0);
    let series = format!("intertie_circuit_breaker_opened_total{{{labels}}}");
    assert_eq!(server.metric(&series).await, 0.0);
    let series = "intertie_request_errors_total{route=\"/**\",error=\"SERVICE_UNREACHABLE\"}";
    assert_eq!(server.metric(series).await, refused as f64);
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(log).expect("a log");
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.filter(|line: &Value| line["method"] == "POST").collect()
    };
    until(async || lines().len() == refused, "each has its line").await;
    for line in lines() {
        let told = (&line["status"], &line["error"], &line["attempts"], &line["endpoint"]);
        assert_eq!(
            told,
            (&502.into(), &"SERVICE_UNREACHABLE".into(), &2.into(), &service.to_string().into())
        );
    }
}

/// In a network of its own that has few ports: in this one, others would run out of them too.
#[test]
fn when_no_port_is_left_the_service_is_not_blamed() {
    let name = "faults::resources::when_no_port_is_left_the_service_is_not_blamed";
    let set_up = "echo 40000 40031 > /proc/sys/net/ipv4/ip_local_port_range";
    alone(name, &["--net"], set_up, without_ports());
}

async fn without_ports() {
    let origin = Origin::statuses(&[200]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let server = Server::start_logging(log.to_str().expect("UTF-8"), &traffic(origin.address));
    let client = Client::new(server.address);
    // Connections to other addresses may have the same ports, so the client and the scrapes have enough.
    let held: Vec<_> =
        std::iter::repeat_with(|| TcpStream::connect(origin.address)).map_while(Result::ok).collect();
    assert!(held.len() > 10, "{} ports", held.len());
    for number in 1..=3 {
        let refused = client.post("/", &[], "body").await;
        is_ours(&refused, "Cannot assign requested address");
        check_unblamed(&server, &log, origin.address, number).await;
    }
    drop(held);
    // The client runs out of ports too, until the kernel gives back those of closed connections.
    let request = || http::Request::get("/").body(full("")).expect("a request");
    until(async || client.try_send(request()).await.is_ok_and(|answer| answer.status == 200), "all is well")
        .await;
}

fn is_ours(refused: &Answer, why: &str) {
    assert_eq!((refused.status, refused.code().as_str()), (502, "SERVICE_UNREACHABLE"));
    let text = refused.text();
    assert!(
        text.contains("the gateway can open no connection to the service") && text.contains(why),
        "{text}"
    );
}

/// Descriptors that the server may have: more than it needs for itself.
const DESCRIPTORS: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_no_descriptor_is_left_clients_wait_and_the_service_is_not_blamed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let origin = Origin::statuses(&[200]).await;
    let program = starting_with(folder.path(), &format!("ulimit -n {DESCRIPTORS}"));
    let log = folder.path().join("access.log");
    let own = OWN.replace("\"off\"", &format!("{log:?}"));
    let text = format!("{own}threads = 1\n{}", traffic(origin.address));
    let server = Server::start_by(folder, Command::new(program), &text);
    // The first stays; the others leave it no descriptor for a connection to the service.
    let mut first = Client::new(server.address).connect().await.expect("connects");
    let held: Vec<_> =
        (0..DESCRIPTORS).map(|_| TcpStream::connect(server.address).expect("the queue takes it")).collect();
    let line = server.wait_for("accept_failed");
    assert!(line.contains("cause=descriptors") && line.contains("Too many open files"), "{line}");
    first
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        .await
        .expect("written");
    let mut refused = String::new();
    first.read_to_string(&mut refused).await.expect("an answer");
    assert!(refused.starts_with("HTTP/1.1 502 ") && refused.contains("\"SERVICE_UNREACHABLE\""), "{refused}");
    assert!(
        refused.contains("the gateway can open no connection to the service: Too many open files"),
        "{refused}"
    );
    drop(held);
    // Whoever waited in the queue meanwhile is served, or was gone.
    assert_eq!(Client::new(server.address).get("/").await.status, 200);
    check_unblamed(&server, &log, origin.address, 1).await;
    let failures =
        async |cause| server.metric(&format!("intertie_accept_failures_total{{cause={cause:?}}}")).await;
    let are_all_told = async || failures("descriptors").await == server.count("accept_failed") as f64;
    until(are_all_told, "each event is counted").await;
    for cause in ["system_descriptors", "memory", "connection"] {
        assert_eq!(failures(cause).await, 0.0, "{cause}");
    }
}
