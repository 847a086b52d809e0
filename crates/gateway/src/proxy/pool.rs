//! Connections to services, kept by one data thread for itself.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use intertie_core::clock::Instant;
use intertie_resilience::MonotonicClock;
use tokio::net::TcpStream;

use super::body::RequestBody;
use super::io::Io;
use crate::plan::{Endpoint, Service};

/// A connection that can carry one exchange at a time.
#[derive(Debug)]
pub(super) struct Connection {
    endpoint: u64,
    sender: SendRequest<RequestBody>,
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
            !idle.connection.sender.is_closed()
                && now.saturating_since(idle.since) < service.config.idle_timeout
        });
        // One that is not ready still sends a request whose answer came early; it may become ready later.
        let ready = connections.iter().rposition(|idle| idle.connection.sender.is_ready())?;
        Some(connections.remove(ready).connection)
    }

    /// Keeps a connection whose exchange is complete, if it can carry another and there is room.
    pub(super) fn keep(&self, service: &Service, mut connection: Connection, now: Instant) {
        if connection.sender.is_closed() {
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
            connections.retain(|idle| {
                now.saturating_since(idle.since) < *timeout && !idle.connection.sender.is_closed()
            });
            !connections.is_empty()
        });
    }
}

/// The limit where the file names none.
const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);

/// A new connection to `endpoint`.
pub(super) async fn open(service: &Service, endpoint: &Endpoint) -> io::Result<Connection> {
    let limit = service.config.connect_timeout.map_or(CONNECT_TIMEOUT_DEFAULT, |time| time.0);
    let stream = match tokio::time::timeout(limit, dial(endpoint)).await {
        Ok(opened) => opened?,
        Err(_) => {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no connection within connect_timeout"));
        }
    };
    stream.set_nodelay(true)?;
    endpoint.stats.connections.increment();
    let (sender, driver) =
        http1::Builder::new().handshake(Io::new(stream)).await.map_err(io::Error::other)?;
    // Its errors reach whoever waits for the answer on it.
    tokio::task::spawn_local(async move {
        let _ = driver.await;
    });
    Ok(Connection { endpoint: endpoint.id, sender, reused: false })
}

async fn dial(endpoint: &Endpoint) -> io::Result<TcpStream> {
    match endpoint.address.socket_addr() {
        Some(address) => TcpStream::connect(address).await,
        None => TcpStream::connect((endpoint.address.host(), endpoint.address.port())).await,
    }
}

impl Connection {
    /// Sends a request and waits for the head of its answer.
    pub(super) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> {
        self.sender.try_send_request(request)
    }
}
