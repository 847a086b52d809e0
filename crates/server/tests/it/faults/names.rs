//! Names of endpoints that cannot be resolved, and whose fault that is.

use std::net::UdpSocket;

use super::alone::alone;
use crate::harness::{Client, Server};

const TRAFFIC: &str = "[service.origin]\nendpoints = [{ at = \"orders.invalid:80\" }]\n\
    connect_timeout = \"300ms\"\n\
    [route.\"/**\"]\nto = \"origin\"\nretry = { attempts = 2, base = \"1ms\" }\n";

/// In a network of its own, where nobody else is asked for names.
#[test]
fn a_name_without_an_answer_is_late_and_one_without_a_resolver_is_wrong() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("resolv.conf");
    std::fs::write(&file, "nameserver 127.0.0.1\n").expect("written");
    let set_up = format!("mount --bind {file:?} /etc/resolv.conf");
    let name = "faults::names::a_name_without_an_answer_is_late_and_one_without_a_resolver_is_wrong";
    alone(name, &["--net", "--mount"], &set_up, unresolved());
}

async fn unresolved() {
    let server = Server::start(TRAFFIC);
    let silent = UdpSocket::bind("127.0.0.1:53").expect("nobody else is here");
    check(&server, 504, "CONNECT_TIMEOUT", "dns_timeout", "no address for its name within connect_timeout")
        .await;
    drop(silent);
    check(&server, 502, "SERVICE_UNREACHABLE", "dns_error", "its name has no address").await;
    let transient =
        "intertie_attempts_total{service=\"origin\",endpoint=\"orders.invalid:80\",outcome=\"transient\"}";
    assert_eq!(server.metric(transient).await, 4.0, "what was not sent is sent again, by POST too");
}

async fn check(server: &Server, status: u16, code: &str, error: &str, words: &str) {
    let answer = Client::new(server.address).post("/", &[], "once").await;
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text());
    assert_eq!(answer.header("proxy-status"), Some(format!("intertie; error={error}").as_str()));
    assert!(answer.text().contains(words), "{}", answer.text());
}
