//! `trusted_proxies` and `forwarded_header`.

use super::{limited, pairs, told};
use crate::harness::{Client, Origin, Server, until};

/// The proxy that is trusted, and one that is not.
const PROXY: [u8; 4] = [127, 0, 0, 7];
const STRANGER: [u8; 4] = [127, 0, 0, 8];

const CLAIMS: [(&str, &str); 6] = [
    ("x-forwarded-for", "6.6.6.6, 192.0.2.1, 127.0.0.7"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "shop.example"),
    ("x-forwarded-port", "1"),
    ("x_forwarded_for", "6.6.6.6"),
    ("forwarded", "for=192.0.2.2;proto=https;host=forwarded.example, for=127.0.0.7"),
];

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_nobody_else() {
    let origin = Origin::statuses(&[200]).await;
    for (keys, from, expected) in [
        ("", PROXY, ["127.0.0.7", "a", "http"]),
        ("trusted_proxies = [\"127.0.0.7\"]", STRANGER, ["127.0.0.8", "a", "http"]),
        (
            "trusted_proxies = [\"127.0.0.7\"]",
            PROXY,
            ["192.0.2.1, 127.0.0.7, 127.0.0.7", "shop.example", "https"],
        ),
        (
            "trusted_proxies = [\"127.0.0.6/31\", \"192.0.2.0/24\"]",
            PROXY,
            ["6.6.6.6, 192.0.2.1, 127.0.0.7, 127.0.0.7", "shop.example", "https"],
        ),
        (
            "trusted_proxies = [\"127.0.0.7\"]\nforwarded_header = \"forwarded\"",
            PROXY,
            ["192.0.2.2, 127.0.0.7, 127.0.0.7", "forwarded.example", "https"],
        ),
    ] {
        let server = Server::start_with(keys, &limited(&origin));
        for client in [Client::new(server.address), Client::new(server.address).http2()] {
            let client = client.from(from.into());
            let claims = [&CLAIMS[..], &[("host", "a")]].concat();
            let answered = client.get_with("/", &claims).await;
            if answered.status == 200 {
                assert_eq!(told(origin.received().last().expect("a request")), pairs(expected), "{keys}");
            } else {
                assert_eq!(answered.status, 429, "the second of the same client");
            }
        }
    }
    assert_eq!(origin.received().len(), 5);
}

#[tokio::test]
async fn limits_and_log_are_by_the_clients_address() {
    let origin = Origin::statuses(&[200]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let traffic = format!("trusted_proxies = [\"127.0.0.7\"]\n{}", limited(&origin));
    let server = Server::start_logging(log.to_str().expect("UTF-8"), &traffic);
    let ask = async |proxy: [u8; 4], from: &str| {
        let client = Client::new(server.address).from(proxy.into());
        client.get_with("/", &[("x-forwarded-for", from)]).await.status
    };
    assert_eq!(ask(PROXY, "192.0.2.1").await, 200);
    assert_eq!(ask(PROXY, "192.0.2.2").await, 200);
    assert_eq!(ask(PROXY, "192.0.2.2").await, 429);
    assert_eq!(ask(PROXY, "192.0.2.3, 192.0.2.2:4711").await, 429);
    assert_eq!(ask(STRANGER, "192.0.2.4").await, 200);
    assert_eq!(ask(STRANGER, "192.0.2.5").await, 429, "whatever it says");
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    until(async || read().lines().count() == 6, "each request has its line").await;
    let lines = read();
    for (client, count) in [("192.0.2.1", 1), ("192.0.2.2", 3), ("127.0.0.8", 2)] {
        let found = lines.matches(&format!("\"client\":\"{client}\"")).count();
        assert_eq!(found, count, "{client}: {lines}");
    }
}
