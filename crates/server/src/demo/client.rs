//! Real clients: kept connections from an address of their own, and what they saw.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpSocket;
use tokio::time::Instant;

/// Connections to one server, from one address.
pub(super) struct Connections {
    to: SocketAddr,
    from: Option<IpAddr>,
    host: HeaderValue,
    idle: RefCell<Vec<SendRequest<Empty<Bytes>>>>,
}

/// A complete answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Connections {
    pub(super) fn new(to: SocketAddr, from: Option<IpAddr>) -> Self {
        let host = HeaderValue::try_from(to.to_string()).unwrap_or_else(|_| HeaderValue::from_static("shop"));
        Self { to, from, host, idle: RefCell::default() }
    }

    /// Sends a request without a body and reads the whole answer.
    pub(super) async fn send(&self, method: Method, path: &str, headers: HeaderMap) -> Result<Answer> {
        let mut sender = self.connection().await?;
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse::<Uri>()?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(HOST, self.host.clone());
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        self.idle.borrow_mut().push(sender);
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    async fn connection(&self) -> Result<SendRequest<Empty<Bytes>>> {
        loop {
            let kept = self.idle.borrow_mut().pop();
            let Some(mut kept) = kept else { break };
            if kept.ready().await.is_ok() {
                return Ok(kept);
            }
        }
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(self.to).await.context("failed to connect")?;
        stream.set_nodelay(true)?;
        let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(driver);
        Ok(sender)
    }
}

/// What clients saw in a stretch of time.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Answers by status; 0 stands for a connection that failed.
    pub(super) statuses: BTreeMap<u16, u64>,
    /// Of the answers that succeeded, in the order in which they came.
    latencies: Vec<Duration>,
}

impl Seen {
    fn note(&mut self, status: u16, latency: Duration) {
        *self.statuses.entry(status).or_default() += 1;
        if (200..300).contains(&status) {
            self.latencies.push(latency);
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.statuses.values().sum()
    }

    pub(super) fn succeeded(&self) -> u64 {
        self.statuses.range(200..300).map(|(_, count)| count).sum()
    }

    /// The latency that `share` of the successful answers did not exceed.
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        sorted.get((last as f64 * share).round() as usize).copied()
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.latencies.extend_from_slice(&other.latencies);
    }
}

/// Where clients note what they see; taken and emptied by the reporter.
pub(super) type Notes = Rc<RefCell<Seen>>;

/// Sends orders at `rate` per second until the task is aborted, whatever the answers do: an open loop, as
/// real crowds are.
pub(super) async fn crowd(to: SocketAddr, from: IpAddr, rate: f64, notes: Notes) {
    let connections = Rc::new(Connections::new(to, Some(from)));
    let mut turns = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    for number in 0_u64.. {
        turns.tick().await;
        let (connections, notes) = (Rc::clone(&connections), Rc::clone(&notes));
        tokio::task::spawn_local(async move {
            let started = Instant::now();
            let path = format!("/orders/{from}-{number}");
            let answer = connections.send(Method::GET, &path, HeaderMap::new()).await;
            let status = answer.map_or(0, |answer| answer.status.as_u16());
            notes.borrow_mut().note(status, started.elapsed());
        });
    }
}
