//! `Via` and `Proxy-Status`.

use super::one;
use crate::harness::{Client, Origin, Reply, Server, answer};

async fn vias(origin: &Origin) -> Vec<String> {
    let received = origin.received().pop().expect("a request");
    let lines = received.headers.get_all("via").iter();
    lines.map(|value| value.to_str().expect("ASCII").to_owned()).collect()
}

#[tokio::test]
async fn via_names_version_and_gateway_where_the_file_says_so() {
    let origin = Origin::start(|_| async { answer(200, &[("via", "1.1 cache")], "") }).await;
    for (keys, to_service, to_client) in [
        ("", ["intertie", "intertie"], &["1.1 cache"][..]),
        ("via = \"both\"\nname = \"edge-1\"", ["edge-1", "edge-1"], &["1.1 cache", "1.1 edge-1"]),
        ("via = \"off\"", ["", ""], &["1.1 cache"]),
    ] {
        let server = Server::start(&format!("[server.answers]\n{keys}\n{}", one(&origin, "")));
        let clients = [Client::new(server.address), Client::new(server.address).http2()];
        for ((client, version), name) in clients.into_iter().zip(["1.1", "2"]).zip(to_service) {
            let answered = client.get_with("/", &[("via", "1.0 fred, 1.1 p.example")]).await;
            let mut expected = vec!["1.0 fred, 1.1 p.example".to_owned()];
            if !name.is_empty() {
                expected.push(format!("{version} {name}"));
            }
            assert_eq!(vias(&origin).await, expected, "{keys}");
            let lines: Vec<_> = answered.headers.get_all("via").iter().collect();
            assert_eq!(lines, to_client, "{keys}");
        }
    }
}

/// Two gateways that each think the other has the service.
#[tokio::test]
async fn a_request_that_goes_round_in_circles_ends() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = port.local_addr().expect("bound");
    drop(port);
    let origin = Origin::statuses(&[200]).await;
    let keys = "[server.answers]\nhops_max = 3\n";
    let traffic =
        format!("{keys}{}", one(&origin, "")).replace(&origin.address.to_string(), &address.to_string());
    let first = Server::start(&traffic);
    let back = first.address;
    let relay = tokio::net::TcpListener::bind(address).await.expect("the port is still free");
    tokio::spawn(async move {
        while let Ok((mut from, _)) = relay.accept().await {
            tokio::spawn(async move {
                let mut to = tokio::net::TcpStream::connect(back).await.expect("connects");
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    let refused = Client::new(first.address).get("/").await;
    assert_eq!((refused.status, refused.code().as_str()), (502, "LOOP_DETECTED"));
    assert_eq!(refused.header("proxy-status"), Some("intertie; error=proxy_loop_detected"));
    assert!(refused.text().contains("more gateways than hops_max, 3"), "{}", refused.text());
}

#[tokio::test]
async fn proxy_status_says_what_went_wrong() {
    let closing = Origin::start(|_| async { Reply::Close }).await;
    let hanging = Origin::start(|_| async { Reply::Hang }).await;
    let good = Origin::start(|_| async { answer(503, &[("proxy-status", "cache; hit")], "") }).await;
    for (origin, keys, policy, status, said) in [
        (&closing, "", "", 502, Some("intertie; error=connection_terminated")),
        (&closing, "[server.answers]\nname = \"edge\"\n", "", 502, Some("edge; error=connection_terminated")),
        (&closing, "[server.answers]\nproxy_status = false\n", "", 502, None),
        (&hanging, "", "attempt_timeout = \"30ms\"", 504, Some("intertie; error=http_response_timeout")),
        (&hanging, "", "deadline = \"30ms\"", 504, Some("intertie; error=http_response_timeout")),
        (&good, "", "", 503, Some("cache; hit")),
    ] {
        let server = Server::start(&format!("{keys}{}", one(origin, policy)));
        let answered = Client::new(server.address).get("/").await;
        assert_eq!((answered.status, answered.header("proxy-status")), (status, said));
    }
}
