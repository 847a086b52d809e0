//! S4's error format and problem documents.

use http::{Method, Request};
use serde_json::{Value, json};

use super::one;
use crate::harness::{Answer, Client, Origin, Server, full};

/// `type` of a problem document with pages at `docs.example`.
const PAGES: &str = "[server.answers]\nerror_pages = \"https://docs.example/errors/\"\n";

async fn missing(pages: &str) -> (Origin, Server) {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&format!("{pages}{}", one(&origin, "").replace("/**", "POST /orders")));
    (origin, server)
}

fn document(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[tokio::test]
async fn who_asks_for_problem_documents_gets_them() {
    let (_origin, server) = missing(PAGES).await;
    let client = Client::new(server.address);
    let refused = client.get_with("/orders", &[("accept", "application/problem+json")]).await;
    assert_eq!(refused.status, 405);
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert_eq!(refused.header("vary"), Some("accept"));
    assert_eq!(refused.header("allow"), Some("POST"));
    let mut said = document(&refused);
    let timestamp = said["timestamp"].take();
    assert!(timestamp.as_str().is_some_and(|at| at.ends_with('Z')), "{timestamp}");
    assert_eq!(
        said,
        json!({
            "type": "https://docs.example/errors/METHOD_NOT_ALLOWED",
            "title": "Method Not Allowed",
            "status": 405,
            "detail": "this path takes POST",
            "instance": refused.header("x-request-id"),
            "code": "METHOD_NOT_ALLOWED",
            "timestamp": null,
        })
    );
    for accept in ["*/*", "application/json", "application/problem+json;q=0.1, application/json"] {
        let refused = client.get_with("/orders", &[("accept", accept)]).await;
        assert_eq!(refused.header("content-type"), Some("application/json"), "{accept}");
        assert_eq!(refused.header("vary"), Some("accept"), "{accept}");
        assert_eq!(refused.code(), "METHOD_NOT_ALLOWED");
    }
}

#[tokio::test]
async fn without_pages_the_type_says_that_the_status_says_all() {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&one(&origin, "rate_limiter = { limit = \"1/h\" }"));
    let client = Client::new(server.address).http2();
    let ask = async || client.get_with("/", &[("accept", "application/problem+json, */*;q=0.1")]).await;
    assert_eq!(ask().await.status, 200);
    let said = document(&ask().await);
    assert_eq!((&said["type"], &said["title"]), (&json!("about:blank"), &json!("Too Many Requests")));
    assert_eq!((&said["code"], &said["route"]), (&json!("RATE_LIMITED"), &json!("/**")));
}

#[tokio::test]
async fn an_answer_to_head_is_the_head_of_the_answer_to_get() {
    let (_origin, server) = missing("").await;
    for client in [Client::new(server.address), Client::new(server.address).http2()] {
        for accept in ["*/*", "application/problem+json"] {
            let ask = async |method: Method| {
                let request = Request::builder().method(method).uri("/orders").header("accept", accept);
                client.send(request.body(full("")).expect("a request")).await
            };
            let (get, head) = (ask(Method::GET).await, ask(Method::HEAD).await);
            assert!(head.body.is_empty() && !get.body.is_empty(), "{head:?}");
            for name in ["content-type", "content-length", "allow", "vary", "proxy-status"] {
                assert!(get.header(name).is_some(), "{name}");
                assert_eq!(get.header(name), head.header(name), "{name}");
            }
        }
    }
}
