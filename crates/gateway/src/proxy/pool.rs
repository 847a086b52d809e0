//! Connections to services, kept by one data thread for itself.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::SendRequest;
use intertie_core::clock::Instant;
use intertie_resilience::MonotonicClock;
use pin_project_lite::pin_project;
use tokio::sync::oneshot;

use super::abort_on_drop::AbortOnDrop;
use super::body::RequestBody;
use super::multiplexed::{Multiplexed, Stream, taken_back};
use super::observed::{Observation, Refusal};
use super::opening::Opening;
use super::tunnel::End;
use crate::config::Protocol;
use crate::plan::{Endpoint, Service, Transport};

/// A connection, or a place on one, that can carry one exchange at a time.
#[derive(Debug)]
pub(super) struct Connection {
    endpoint: u64,
    /// The transport that it belongs to.
    transport: u64,
    link: Link,
    /// Whether it carried an exchange before: its service may be about to close it.
    pub(super) reused: bool,
}

#[derive(Debug)]
enum Link {
    Http1 {
        sender: SendRequest<RequestBody>,
        observation: Rc<Observation>,
        /// Brings the connection itself when another protocol is spoken on it.
        handed: oneshot::Receiver<Box<End>>,
        /// Without it hyper holds on to a socket whose service does not take the rest of a request, for ever
        /// (hyperium/hyper#4176).
        driver: AbortOnDrop,
    },
    Http2(Stream),
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// What is shared by the exchanges with one endpoint.
#[derive(Debug, Default)]
struct Shared {
    connections: Vec<Rc<Multiplexed>>,
    /// How many there are, with those that only the exchanges on them hold.
    live: Rc<Cell<usize>>,
    opening: Option<Rc<Opening>>,
    /// Whether the service agreed to HTTP/1.1 when it was last asked.
    speaks_http1: bool,
}

/// The idle connections of one data thread, the most recently used on top, and those that carry several
/// exchanges at a time.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: RefCell<BTreeMap<u64, Vec<Idle>>>,
    shared: RefCell<BTreeMap<u64, Shared>>,
}

impl Pool {
    /// A connection to `endpoint` with room for an exchange, if there is one.
    pub(super) fn take(&self, service: &Service, endpoint: &Endpoint, now: Instant) -> Option<Connection> {
        if service.transport.may_multiplex()
            && let Some(connection) = self.take_stream(service, endpoint, now)
        {
            return Some(connection);
        }
        self.take_kept(service, endpoint, now)
    }

    /// A connection to `endpoint` that was kept and speaks HTTP/1.1, if there is one.
    pub(super) fn take_kept(
        &self,
        service: &Service,
        endpoint: &Endpoint,
        now: Instant,
    ) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.get_mut(&endpoint.id)?;
        let fits = |idle: &Idle| {
            !idle.connection.is_over()
                && idle.connection.transport == service.transport.id
                && now.saturating_since(idle.since) < service.config.idle_timeout
        };
        // From the top only as far as need be: those that do not fit below it wait for the next sweep.
        for place in (0..connections.len()).rev() {
            if !fits(&connections[place]) {
                connections.remove(place);
            } else if connections[place].connection.is_ready() {
                return Some(connections.remove(place).connection);
            }
            // One that is not ready still sends a request whose answer came early; it may become ready later.
        }
        None
    }

    /// The fullest place first, so that what is not needed becomes idle.
    fn take_stream(&self, service: &Service, endpoint: &Endpoint, now: Instant) -> Option<Connection> {
        let mut shared = self.shared.borrow_mut();
        let connections = &mut shared.get_mut(&endpoint.id)?.connections;
        connections
            .retain(|connection| connection.is_good(&service.transport, now, service.config.idle_timeout));
        let stream = connections.iter().find_map(Multiplexed::begin)?;
        let reused = stream.is_reused();
        let transport = service.transport.id;
        Some(Connection { endpoint: endpoint.id, transport, link: Link::Http2(stream), reused })
    }

    /// Keeps a connection whose exchange is complete, if it can carry another and there is room.
    pub(super) fn keep(&self, service: &Service, mut connection: Connection, now: Instant) {
        connection.reused = true;
        connection.rest();
        self.offer(service, connection, now);
    }

    /// Keeps a connection for whoever waits for one, as it is.
    pub(super) fn offer(&self, service: &Service, connection: Connection, now: Instant) {
        if connection.is_multiplexed() || connection.is_over() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let connections = idle.entry(connection.endpoint).or_default();
        if connections.len() < service.config.idle_connections_max.get() as usize {
            connections.push(Idle { connection, since: now });
        }
    }

    /// Closes the connections that were idle for too long, and all to endpoints that `services` no longer
    /// name, or speak to in another way.
    pub(super) fn sweep(&self, services: &[Arc<Service>]) {
        let now = MonotonicClock::now();
        let known: BTreeMap<u64, (Duration, &Transport)> = services
            .iter()
            .flat_map(|service| {
                let terms = (service.config.idle_timeout, service.transport.as_ref());
                service.endpoints.iter().map(move |endpoint| (endpoint.id, terms))
            })
            .collect();
        self.idle.borrow_mut().retain(|endpoint, connections| {
            let Some((timeout, transport)) = known.get(endpoint) else { return false };
            connections.retain(|idle| {
                now.saturating_since(idle.since) < *timeout
                    && idle.connection.transport == transport.id
                    && !idle.connection.is_over()
            });
            !connections.is_empty()
        });
        self.shared.borrow_mut().retain(|endpoint, shared| {
            let Some((timeout, transport)) = known.get(endpoint) else { return false };
            shared.connections.retain(|connection| connection.is_good(transport, now, *timeout));
            true
        });
    }

    /// Whether a new connection is likely to carry several exchanges, so that others should wait for it.
    pub(super) fn expects_streams(&self, service: &Service, endpoint: &Endpoint) -> bool {
        match service.transport.protocol {
            Protocol::Http1 => false,
            Protocol::Http2 => true,
            Protocol::Negotiate => {
                !self.shared.borrow().get(&endpoint.id).is_some_and(|shared| shared.speaks_http1)
            }
        }
    }

    /// The connection to `endpoint` that is being opened, if one is.
    pub(super) fn opening(&self, endpoint: &Endpoint) -> Option<Rc<Opening>> {
        self.shared.borrow().get(&endpoint.id)?.opening.clone()
    }

    pub(super) fn begin_opening(&self, endpoint: &Endpoint) -> Rc<Opening> {
        Rc::clone(self.shared.borrow_mut().entry(endpoint.id).or_default().opening.insert(Rc::default()))
    }

    pub(super) fn end_opening(&self, endpoint: &Endpoint) {
        self.shared.borrow_mut().entry(endpoint.id).or_default().opening = None;
    }

    /// How many connections to `endpoint` carry several exchanges, those included that begin none any more.
    pub(super) fn live(&self, endpoint: &Endpoint) -> Rc<Cell<usize>> {
        Rc::clone(&self.shared.borrow_mut().entry(endpoint.id).or_default().live)
    }

    /// Lets all exchanges with `endpoint` use `connection`.
    pub(super) fn share(&self, endpoint: &Endpoint, connection: Rc<Multiplexed>) {
        let mut shared = self.shared.borrow_mut();
        let shared = shared.entry(endpoint.id).or_default();
        shared.speaks_http1 = false;
        shared.connections.push(connection);
    }

    /// The service agreed to HTTP/1.1.
    pub(super) fn expect_no_streams(&self, endpoint: &Endpoint) {
        self.shared.borrow_mut().entry(endpoint.id).or_default().speaks_http1 = true;
    }

    /// An attempt that began at `since` ran into its limit: where `endpoint` has answered nothing since then
    /// it may be dead, and no other exchange waits for it there.
    pub(super) fn suspect(&self, endpoint: &Endpoint, since: Instant) {
        if let Some(shared) = self.shared.borrow().get(&endpoint.id) {
            shared.connections.iter().for_each(|connection| connection.suspect(since));
        }
    }
}

impl Connection {
    pub(super) fn http1(
        endpoint: u64,
        transport: u64,
        sender: SendRequest<RequestBody>,
        observation: Rc<Observation>,
        handed: oneshot::Receiver<Box<End>>,
        driver: AbortOnDrop,
    ) -> Self {
        let link = Link::Http1 { sender, observation, handed, driver };
        Self { endpoint, transport, link, reused: false }
    }

    /// It was open before its exchange came, though perhaps for none.
    pub(super) fn was_kept(&mut self) {
        self.reused |= !self.is_multiplexed();
    }

    /// Whether it shares its connection with other exchanges.
    pub(super) fn is_multiplexed(&self) -> bool {
        matches!(self.link, Link::Http2(_))
    }

    /// Whether it was idle when its exchange began: then its end is no failure of the service.
    pub(super) fn was_idle(&self) -> bool {
        match &self.link {
            Link::Http1 { .. } => self.reused,
            Link::Http2(stream) => self.reused && stream.alone,
        }
    }

    fn is_ready(&self) -> bool {
        match &self.link {
            Link::Http1 { sender, .. } => sender.is_ready(),
            Link::Http2(_) => true,
        }
    }

    /// Its exchange is complete.
    fn rest(&self) {
        if let Link::Http1 { sender, observation, .. } = &self.link
            && sender.is_ready()
        {
            observation.rest();
        }
    }

    /// Whether it can carry no other exchange.
    fn is_over(&self) -> bool {
        match &self.link {
            Link::Http1 { sender, .. } => sender.is_closed() || self.refusal().is_some(),
            Link::Http2(_) => true,
        }
    }

    /// The connection itself, once its service speaks another protocol on it; nothing when it ended instead.
    pub(super) async fn into_end(self) -> Option<Box<End>> {
        match self.link {
            Link::Http1 { handed, driver: _driver, .. } => handed.await.ok(),
            Link::Http2(_) => None,
        }
    }

    /// What was refused of its answers, if anything was.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match &self.link {
            Link::Http1 { observation, .. } => observation.refusal(),
            Link::Http2(stream) => stream.refusal(),
        }
    }

    /// Whether it ended in the middle of the head of an answer.
    pub(super) fn broke_off_in_head(&self) -> bool {
        match &self.link {
            Link::Http1 { observation, .. } => observation.broke_off_in_head(),
            Link::Http2(_) => false,
        }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// No `async fn`: its future would hold the request three times.
    pub(super) fn send(
        &mut self,
        request: Request<RequestBody>,
        endpoint: &Endpoint,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> {
        match &mut self.link {
            Link::Http1 { sender, observation, .. } => {
                observation.ask(request.method() == Method::HEAD);
                Sending::Http1 { sending: sender.try_send_request(request) }
            }
            Link::Http2(stream) => Sending::Http2 { sending: Box::pin(stream.send(request, endpoint)) },
        }
    }

    /// A request that came back unsent, as it was before.
    pub(super) fn taken_back(&self, unsent: Request<RequestBody>) -> Request<RequestBody> {
        match &self.link {
            Link::Http1 { .. } => unsent,
            Link::Http2(_) => taken_back(unsent),
        }
    }
}

pin_project! {
    /// A request on its way.
    #[project = SendingProjection]
    enum Sending<A, B> {
        Http1 {
            #[pin]
            sending: A,
        },
        // In a box, so that a call over HTTP/1.1 is not larger for it.
        Http2 {
            sending: Pin<Box<B>>,
        },
    }
}

impl<A: Future, B: Future<Output = A::Output>> Future for Sending<A, B> {
    type Output = A::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            SendingProjection::Http1 { sending } => sending.poll(context),
            SendingProjection::Http2 { sending } => sending.as_mut().poll(context),
        }
    }
}
