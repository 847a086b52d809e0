//! Connections to services, kept by one data thread for itself.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use intertie_core::clock::Instant;
use intertie_resilience::MonotonicClock;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::body::RequestBody;
use super::io::Io;
use super::observed::{HEADERS_MAX_OF_HYPER, Observation, Observed, Refusal};
use super::tunnel::End;
use super::worker::Worker;
use crate::plan::{Endpoint, Service};
use crate::wire::{HeadLimits, Reader};

/// A connection that can carry one exchange at a time.
#[derive(Debug)]
pub(super) struct Connection {
    endpoint: u64,
    sender: SendRequest<RequestBody>,
    observation: Rc<Observation>,
    /// Brings the connection itself when another protocol is spoken on it.
    handed: oneshot::Receiver<Box<End>>,
    /// Whether it carried an exchange before: its service may be about to close it.
    pub(super) reused: bool,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// The idle connections of one data thread, the most recently used on top.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: RefCell<HashMap<u64, Vec<Idle>>>,
}

impl Pool {
    /// An idle connection to `endpoint`, if there is one.
    pub(super) fn take(&self, service: &Service, endpoint: &Endpoint, now: Instant) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.get_mut(&endpoint.id)?;
        connections.retain(|idle| {
            !idle.connection.is_over() && now.saturating_since(idle.since) < service.config.idle_timeout
        });
        // One that is not ready still sends a request whose answer came early; it may become ready later.
        let ready = connections.iter().rposition(|idle| idle.connection.sender.is_ready())?;
        Some(connections.remove(ready).connection)
    }

    /// Keeps a connection whose exchange is complete, if it can carry another and there is room.
    pub(super) fn keep(&self, service: &Service, mut connection: Connection, now: Instant) {
        if connection.is_over() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let connections = idle.entry(connection.endpoint).or_default();
        if connections.len() < service.config.idle_connections_max.get() as usize {
            connection.reused = true;
            connections.push(Idle { connection, since: now });
        }
    }

    /// Closes the connections that were idle for too long, and all to endpoints that `services` no longer
    /// name.
    pub(super) fn sweep(&self, services: &[std::sync::Arc<Service>]) {
        let now = MonotonicClock::now();
        let timeouts: HashMap<u64, Duration> = services
            .iter()
            .flat_map(|service| {
                service.endpoints.iter().map(|endpoint| (endpoint.id, service.config.idle_timeout))
            })
            .collect();
        self.idle.borrow_mut().retain(|endpoint, connections| {
            let Some(timeout) = timeouts.get(endpoint) else { return false };
            connections
                .retain(|idle| now.saturating_since(idle.since) < *timeout && !idle.connection.is_over());
            !connections.is_empty()
        });
    }
}

/// The limit where the file names none.
const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);

/// A new connection to `endpoint`.
pub(super) async fn open(
    worker: &Rc<Worker>,
    service: &Service,
    endpoint: &Endpoint,
) -> io::Result<Connection> {
    let limit = service.config.connect_timeout.map_or(CONNECT_TIMEOUT_DEFAULT, |time| time.0);
    let stream = match tokio::time::timeout(limit, dial(endpoint)).await {
        Ok(opened) => opened?,
        Err(_) => {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no connection within connect_timeout"));
        }
    };
    stream.set_nodelay(true)?;
    endpoint.stats.connections.increment();
    let observation = Rc::<Observation>::default();
    let reader = Reader::answers(HeadLimits::from(&worker.client_limits));
    let io = Observed::answers(TokioIo::new(Io::new(stream)), reader, Rc::clone(&observation));
    let mut builder = http1::Builder::new();
    let headers_max = worker.client_limits.headers_max.get();
    if headers_max > HEADERS_MAX_OF_HYPER {
        builder.max_headers(headers_max as usize);
    }
    let (sender, mut driver) = builder.handshake(TokioIo::new(io)).await.map_err(io::Error::other)?;
    let (handing, handed) = oneshot::channel();
    let connection = Connection { endpoint: endpoint.id, sender, observation, handed, reused: false };
    let (worker, observation) = (Rc::clone(worker), Rc::clone(&connection.observation));
    let (service, endpoint) = (service.name.to_string(), endpoint.address.to_string());
    tokio::task::spawn_local(async move {
        // Its errors reach whoever waits for the answer on it.
        let in_order = (&mut driver).await.is_ok();
        let parts = driver.into_parts();
        if in_order && parts.io.inner().has_switched() {
            // Whoever does not want it has let go of the connection.
            let _ = handing.send(Box::new(End::new(parts.io, parts.read_buf)));
        }
        if let Some(Refusal { violation, .. }) = observation.refusal() {
            worker.refused.refused_answer(violation);
            worker.events.tell("answer_refused", || {
                let reason = violation.name().to_owned();
                vec![("service", service), ("endpoint", endpoint), ("reason", reason)]
            });
        }
    });
    Ok(connection)
}

async fn dial(endpoint: &Endpoint) -> io::Result<TcpStream> {
    match endpoint.address.socket_addr() {
        Some(address) => TcpStream::connect(address).await,
        None => TcpStream::connect((endpoint.address.host(), endpoint.address.port())).await,
    }
}

impl Connection {
    /// Whether it can carry no other exchange.
    fn is_over(&self) -> bool {
        self.sender.is_closed() || self.refusal().is_some()
    }

    /// The connection itself, once its service speaks another protocol on it; nothing when it ended instead.
    pub(super) async fn into_end(self) -> Option<Box<End>> {
        self.handed.await.ok()
    }

    /// What was refused of its answers, if anything was.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.observation.refusal()
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> {
        self.observation.ask(request.method() == Method::HEAD);
        self.sender.try_send_request(request)
    }
}
