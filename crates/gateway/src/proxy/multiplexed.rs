//! Connections that carry many exchanges at a time.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::fmt;
use std::rc::Rc;

use http::uri::Scheme;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::SendRequest;
use intertie_core::clock::Instant;
use intertie_resilience::MonotonicClock;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::body::RequestBody;
use super::observed::{Observation, Refusal};
use super::translate::{to_http1, to_http2};
use crate::plan::{Endpoint, Transport};

/// One connection that speaks HTTP/2. It ends when nobody holds it any more and its last exchange is over: in
/// order, or at once when its service may be dead.
pub(super) struct Multiplexed {
    sender: RefCell<SendRequest<RequestBody>>,
    /// The transport that it belongs to.
    transport: u64,
    scheme: &'static Scheme,
    /// Exchanges that the file allows.
    streams_max: usize,
    /// Exchanges that the service allows.
    peer_streams_max: Box<dyn Fn() -> usize>,
    streams: Cell<usize>,
    carried: Cell<bool>,
    /// When the service last began an answer.
    answered: Cell<Option<Instant>>,
    idle_since: Cell<Instant>,
    /// Whether the service may be dead.
    suspected: Cell<bool>,
    observation: Rc<Observation>,
    socket: Socket,
}

impl fmt::Debug for Multiplexed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multiplexed").field("streams", &self.streams).finish_non_exhaustive()
    }
}

impl Multiplexed {
    pub(super) fn new(
        sender: SendRequest<RequestBody>,
        peer_streams_max: Box<dyn Fn() -> usize>,
        observation: Rc<Observation>,
        socket: Socket,
        transport: &Transport,
    ) -> Rc<Self> {
        let now = MonotonicClock::now();
        Rc::new(Self {
            sender: RefCell::new(sender),
            transport: transport.id,
            scheme: transport.scheme(),
            streams_max: transport.http2.streams_max.get() as usize,
            peer_streams_max,
            streams: Cell::new(0),
            carried: Cell::new(false),
            answered: Cell::new(None),
            idle_since: Cell::new(now),
            suspected: Cell::new(false),
            observation,
            socket,
        })
    }

    /// Whether it can begin another exchange of `transport` some time, full or not.
    pub(super) fn is_good(&self, transport: &Transport, now: Instant, idle_max: std::time::Duration) -> bool {
        let rested = self.streams.get() == 0 && now.saturating_since(self.idle_since.get()) >= idle_max;
        self.transport == transport.id
            && !self.suspected.get()
            && !rested
            && !self.sender.borrow().is_closed()
    }

    /// A place on it, unless it is full.
    pub(super) fn begin(self: &Rc<Self>) -> Option<Stream> {
        let streams = self.streams.get();
        if streams >= self.streams_max || (streams > 0 && streams >= (self.peer_streams_max)()) {
            return None;
        }
        self.streams.set(streams + 1);
        Some(Stream { alone: streams == 0, connection: Rc::clone(self) })
    }

    /// Begins no other exchange on it if the service has answered nothing since `since`.
    pub(super) fn suspect(&self, since: Instant) {
        if self.answered.get().is_none_or(|at| at < since) {
            self.suspected.set(true);
        }
    }
}

impl Drop for Multiplexed {
    fn drop(&mut self) {
        if self.suspected.get() {
            // One that has ceased to read would not let it end in order.
            self.socket.cutting.abort();
        }
    }
}

/// What ends a connection, and counts it until then.
#[derive(Debug)]
pub(super) struct Socket {
    cutting: AbortHandle,
    _held: oneshot::Sender<Infallible>,
    live: Rc<Cell<usize>>,
}

impl Socket {
    /// `cutting` ends it at once, the end of `held` in order; it counts in `live`.
    pub(super) fn new(
        cutting: AbortHandle,
        held: oneshot::Sender<Infallible>,
        live: Rc<Cell<usize>>,
    ) -> Self {
        live.set(live.get() + 1);
        Self { cutting, _held: held, live }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.live.set(self.live.get() - 1);
    }
}

/// A place on a connection, for one exchange.
#[derive(Debug)]
pub(super) struct Stream {
    connection: Rc<Multiplexed>,
    /// Whether nothing else was under way on it when it began.
    pub(super) alone: bool,
}

impl Stream {
    /// What was refused of what the service sent, if anything was.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.connection.observation.refusal()
    }

    /// Whether the connection carried something before.
    pub(super) fn is_reused(&self) -> bool {
        self.connection.carried.get()
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        &self,
        mut request: Request<RequestBody>,
        endpoint: &Endpoint,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        let connection = &self.connection;
        to_http2(&mut request, connection.scheme, endpoint.address.as_str());
        connection.carried.set(true);
        let sending = connection.sender.borrow_mut().try_send_request(request);
        let answer = sending.await;
        if answer.is_ok() {
            connection.answered.set(Some(MonotonicClock::now()));
        }
        answer
    }
}

/// A request that came back unsent, as it was before it was to be sent.
pub(super) fn taken_back(mut request: Request<RequestBody>) -> Request<RequestBody> {
    let has_body = !matches!(request.body(), RequestBody::Empty);
    to_http1(&mut request, has_body);
    request
}

impl Drop for Stream {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get() - 1);
        if connection.streams.get() == 0 {
            connection.idle_since.set(MonotonicClock::now());
        }
    }
}
