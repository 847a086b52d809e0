//! The API of queues, as its clients see it.

mod bounds;
mod commands;
mod dead_letters;
mod files;
mod leases;
mod life;
mod messages;
mod page;
mod refusals;
mod reload;
mod takeover;
mod tls;
mod tokens;

use http::{Method, Request};
use serde_json::Value;

use crate::harness::{Answer, Client, Server, full};

/// The keys that give a server an API with a port of its own.
const API: &str = "api = \"127.0.0.1:0\"\n";

/// A server with these queues and nothing else.
fn start(queues: &str) -> Server {
    Server::start_with(API, queues)
}

/// A client of the API that opens a connection for each request.
#[derive(Debug, Clone)]
struct Caller(Client);

/// An answer as JSON.
#[derive(Debug)]
struct Said {
    status: u16,
    body: Value,
    answer: Answer,
}

impl Said {
    /// The code of the one error.
    fn code(&self) -> &str {
        self.body["errors"][0]["code"].as_str().unwrap_or_else(|| panic!("an error: {self:?}"))
    }

    fn detail(&self) -> &str {
        self.body["errors"][0]["detail"].as_str().unwrap_or_else(|| panic!("an error: {self:?}"))
    }

    fn pointer(&self) -> &str {
        self.body["errors"][0]["source"]["pointer"].as_str().unwrap_or_else(|| panic!("a pointer: {self:?}"))
    }

    /// The leases, or the messages of a page.
    fn list(&self) -> &[Value] {
        self.body["data"].as_array().unwrap_or_else(|| panic!("a list: {self:?}"))
    }

    /// The lease of the n-th message.
    fn lease(&self, n: usize) -> &str {
        self.list()[n]["id"].as_str().expect("an id")
    }

    /// The ids of the events, in their order.
    fn events(&self) -> Vec<&str> {
        let ids = self.list().iter().map(|one| one["attributes"]["event"]["id"].as_str());
        ids.map(|id| id.expect("an event")).collect()
    }
}

impl Caller {
    fn of(server: &Server) -> Self {
        Self(Client::new(server.api))
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&'static str, &str)], body: &str) -> Said {
        said(self.0.send(request(method, path, headers, body)).await)
    }

    async fn get(&self, path: &str) -> Said {
        self.ask(Method::GET, path, &[], "").await
    }

    /// POST of JSON.
    async fn post(&self, path: &str, body: &str) -> Said {
        self.ask(Method::POST, path, &[("content-type", "application/json")], body).await
    }

    /// Sends an event with this id and further headers.
    async fn send(&self, queue: &str, id: &str, headers: &[(&'static str, &str)]) -> Said {
        let event = [("ce-specversion", "1.0"), ("ce-id", id), ("ce-source", "/test"), ("ce-type", "Tested")];
        self.ask(Method::POST, &format!("/api/v1/queues/{queue}/messages"), &[&event, headers].concat(), "")
            .await
    }

    /// Sends such an event, which is stored.
    async fn stored(&self, queue: &str, id: &str) -> u64 {
        let said = self.send(queue, id, &[]).await;
        assert_eq!(said.status, 201, "{said:?}");
        said.body["data"]["attributes"]["position"].as_u64().expect("a position")
    }

    async fn lease(&self, queue: &str, body: &str) -> Said {
        let said = self.post(&format!("/api/v1/queues/{queue}/leases"), body).await;
        assert_eq!(said.status, 200, "{said:?}");
        said
    }

    /// Leases up to ten messages as `worker`.
    async fn take(&self, queue: &str) -> Said {
        self.lease(queue, r#"{"consumer":"worker","most":10}"#).await
    }

    async fn settle(&self, queue: &str, body: &str) -> Said {
        self.post(&format!("/api/v1/queues/{queue}/settlements"), body).await
    }

    async fn depth(&self, queue: &str, what: &str) -> u64 {
        let said = self.get(&format!("/api/v1/queues/{queue}")).await;
        said.body["data"]["attributes"][what].as_u64().unwrap_or_else(|| panic!("`{what}` in {said:?}"))
    }
}

fn request(
    method: Method,
    path: &str,
    headers: &[(&'static str, &str)],
    body: &str,
) -> Request<crate::harness::AnyBody> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(full(body.to_owned())).expect("a request")
}

fn said(answer: Answer) -> Said {
    let body = if answer.body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
    };
    Said { status: answer.status, body, answer }
}
