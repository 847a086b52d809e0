//! Our server, over HTTP/1.1.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use intertie_bench::process::Server;
use intertie_bench::product;
use intertie_bench::workdir::free_ports;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::redis::parent;
use super::{Site, Subject, Worker, once_ready};

pub struct Intertie {
    server: Server,
    port: u16,
}

impl Subject for Intertie {
    type Worker = Connection;

    async fn start(site: &Site<'_>) -> Result<Self> {
        let [port, admin_port] = free_ports()?;
        let file = site.dir.join("intertie.toml");
        let text = format!(
            "[server]\napi = \"127.0.0.1:{port}\"\nadmin = \"127.0.0.1:{admin_port}\"\ndata = \"data\"\n\n[queue.orders]\n"
        );
        std::fs::write(&file, text)?;
        let (binary, _) = product::prepare(false)?;
        let mut command = Command::new(binary);
        command.arg("up").arg(&file);
        let server = Server::start("intertie", command, parent(site.dir)?)?;
        let subject = Self { server, port };
        let ready =
            once_ready(async || subject.connect(0).await?.ask(Method::GET, QUEUE, None, Bytes::new()).await);
        subject.explain(ready.await)?;
        Ok(subject)
    }

    async fn worker(&self, number: usize) -> Result<Connection> {
        self.connect(number).await
    }

    fn process(&self) -> u32 {
        self.server.pid()
    }

    fn explain<T>(&self, result: Result<T>) -> Result<T> {
        self.server.explain(result)
    }

    async fn stop(self) -> Result<()> {
        self.server.stop()
    }
}

impl Intertie {
    async fn connect(&self, number: usize) -> Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        spawn_local(async move {
            if let Err(error) = connection.await {
                eprintln!("a connection to intertie failed: {error}");
            }
        });
        Ok(Connection { sender, number, sent: 0 })
    }
}

const QUEUE: &str = "/api/v1/queues/orders";

/// Each has one of its own, which is kept.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    number: usize,
    sent: u64,
}

impl Connection {
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Bytes> {
        let request = Request::builder().method(method).uri(path);
        let request =
            content_type.into_iter().fold(request, |request, value| request.header(CONTENT_TYPE, value));
        self.send_request(request, body).await
    }

    async fn send_request(&mut self, request: request::Builder, body: Bytes) -> Result<Bytes> {
        let request = request.header(HOST, "127.0.0.1").body(Full::new(body))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }

    fn next_id(&mut self) -> String {
        self.sent += 1;
        format!("{}-{}", self.number, self.sent)
    }
}

impl Worker for Connection {
    async fn send(&mut self, body: Bytes) -> Result<()> {
        let request = Request::post("/api/v1/queues/orders/messages")
            .header("ce-specversion", "1.0")
            .header("ce-id", self.next_id())
            .header("ce-source", "/bench")
            .header("ce-type", "measured")
            .header(CONTENT_TYPE, "application/octet-stream");
        self.send_request(request, body).await?;
        Ok(())
    }

    async fn send_batch(&mut self, bodies: Vec<Bytes>) -> Result<()> {
        let events: Vec<_> = bodies
            .into_iter()
            .map(|body| {
                json!({
                    "specversion": "1.0",
                    "id": self.next_id(),
                    "source": "/bench",
                    "type": "measured",
                    "data_base64": STANDARD.encode(body),
                })
            })
            .collect();
        let path = format!("{QUEUE}/messages");
        let body = serde_json::to_vec(&events)?.into();
        self.ask(Method::POST, &path, Some("application/cloudevents-batch+json"), body).await?;
        Ok(())
    }

    async fn take(&mut self, most: usize) -> Result<usize> {
        let asked = json!({ "consumer": format!("consumer-{}", self.number), "most": most });
        let path = format!("{QUEUE}/leases");
        let leased = self.ask(Method::POST, &path, JSON, asked.to_string().into()).await?;
        let leased: Value = serde_json::from_slice(&leased)?;
        let leases = leased["data"].as_array().context("an answer without leases")?;
        for lease in leases {
            let settlement = json!({ "lease": lease["id"], "outcome": "ack" });
            let path = format!("{QUEUE}/settlements");
            self.ask(Method::POST, &path, JSON, settlement.to_string().into()).await?;
        }
        Ok(leases.len())
    }
}

const JSON: Option<&str> = Some("application/json");
