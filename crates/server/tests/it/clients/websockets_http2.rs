//! WebSockets on streams of HTTP/2 from Node, to a service of Python's `websockets`, which knows only HTTP/1.1.

use super::websockets::Speaker;
use crate::harness::{Server, until};

#[tokio::test]
async fn websockets_of_one_http2_connection_reach_a_service_of_http1() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (python, node) = (Speaker::python(folder.path()).await, Speaker::node(folder.path()).await);
    let (_running, address) = python.serve().await;
    let server = Server::start(&format!(
        "[service.echo]\nendpoints = [{{ at = \"{address}\" }}]\n\n\
         [route.\"GET /echo\"]\nto = \"echo\"\nattempt_timeout = \"5s\"\n"
    ));
    let script = folder.path().join("talk_http2.cjs");
    std::fs::write(&script, include_str!("talk_http2.cjs")).expect("written");
    node.run(&script, &server).await;
    let upgrades = |what: &str| format!("intertie_{what}{{route=\"GET /echo\"}}");
    assert_eq!(server.metric(&upgrades("upgrades_total")).await, 8.0);
    until(async || server.metric(&upgrades("upgrades_open")).await == 0.0, "all end").await;
    assert_eq!(server.metric("intertie_requests_total{route=\"GET /echo\",status=\"2xx\"}").await, 8.0);
}
