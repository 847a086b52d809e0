//! New connections to services.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use intertie_core::quantity::ByteSize;
use intertie_resilience::MonotonicClock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::abort_on_drop::AbortOnDrop;
use super::dial::{
    CONNECT_TIMEOUT_DEFAULT, DialError, Dialled as Opened, Stream as Dialled, dial, dial_for_tunnel,
    dial_http1,
};
use super::exhausted::is_exhausted;
use super::io::{Io, Protocol as Spoken};
use super::multiplexed::{Multiplexed, Socket};
use super::observed::{HEADERS_MAX_OF_HYPER, Observation, Observed, Refusal};
use super::observed_frames::ObservedFrames;
use super::opening::{Opener, Opening};
use super::pool::Connection;
use super::preface::{Preface, Prefaced};
use super::proxy_error::ProxyError;
use super::streams::ConnectionExecutor;
use super::tunnel::End;
use super::worker::Worker;
use crate::plan::{Endpoint, Service};
use crate::tls::ServiceHandshake;
use crate::wire::{FloodLimits, FrameReader, HeadLimits, Reader};

/// Why a request got no connection. The service has not seen it.
#[derive(Debug, Clone)]
pub(super) enum OpenError {
    /// None could be opened.
    Failed(Rc<str>, ProxyError),
    /// This machine had no port, descriptor or memory left for one.
    Starved(Rc<str>),
    /// As many as there may be are open, and all are full.
    Exhausted { connections: u32, streams: u32 },
    /// The service speaks no HTTP/1.1.
    NoHttp1,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(cause, _) | Self::Starved(cause) => f.write_str(cause),
            Self::Exhausted { connections, streams } => write!(
                f,
                "as many are open as http2.connections_max allows, {connections}, and each is full; \
                 http2.streams_max is {streams}"
            ),
            Self::NoHttp1 => {
                f.write_str("it speaks no HTTP/1.1, in which alone it can be asked to switch protocols")
            }
        }
    }
}

impl std::error::Error for OpenError {}

impl OpenError {
    /// What clients are told.
    pub(super) const fn proxy_error(&self) -> ProxyError {
        match self {
            Self::Failed(_, error) => *error,
            Self::Starved(_) => ProxyError::ProxyInternalError,
            Self::Exhausted { .. } => ProxyError::ConnectionLimitReached,
            Self::NoHttp1 => ProxyError::HttpUpgradeFailed,
        }
    }
}

/// A connection for one exchange with `endpoint`, when none that is open has room.
pub(super) async fn open(
    worker: &Rc<Worker>,
    service: &Arc<Service>,
    endpoint: &Endpoint,
) -> Result<Connection, OpenError> {
    let pool = &worker.pool;
    loop {
        if !pool.expects_streams(service, endpoint) {
            match connect(worker, service, endpoint).await? {
                Connected::Http1(connection) => return Ok(connection),
                Connected::Http2(connection) => {
                    pool.share(endpoint, connection);
                }
            }
        } else {
            let opening = match pool.opening(endpoint) {
                Some(opening) => opening,
                None => begin(worker, service, endpoint)?,
            };
            opening.outcome().await?;
        }
        // Others who waited may have been quicker.
        if let Some(connection) = pool.take(service, endpoint, MonotonicClock::now()) {
            return Ok(connection);
        }
    }
}

/// Begins to open a connection for all who want one.
fn begin(worker: &Rc<Worker>, service: &Arc<Service>, endpoint: &Endpoint) -> Result<Rc<Opening>, OpenError> {
    let http2 = &service.transport.http2;
    let connections = http2.connections_max.get();
    if worker.pool.live(endpoint).get() >= connections as usize {
        endpoint.stats.exhausted.increment();
        return Err(OpenError::Exhausted { connections, streams: http2.streams_max.get() });
    }
    let opening = worker.pool.begin_opening(endpoint);
    let opener = {
        let (worker, endpoint) = (Rc::clone(worker), endpoint.clone());
        // Also when opening it panics: nobody is to wait for what will never come.
        Opener::new(Rc::clone(&opening), move || worker.pool.end_opening(&endpoint))
    };
    let (worker, service, endpoint) = (Rc::clone(worker), Arc::clone(service), endpoint.clone());
    tokio::task::spawn_local(async move {
        let connected = connect(&worker, &service, &endpoint).await;
        let pool = &worker.pool;
        opener.end(connected.map(|connected| match connected {
            Connected::Http1(connection) => {
                pool.expect_no_streams(&endpoint);
                pool.offer(&service, connection, MonotonicClock::now());
            }
            Connected::Http2(connection) => pool.share(&endpoint, connection),
        }));
    });
    Ok(opening)
}

enum Connected {
    Http1(Connection),
    Http2(Rc<Multiplexed>),
}

/// A connection for one exchange in HTTP/1.1 with a service that decides what is spoken.
pub(super) async fn open_http1(
    worker: &Rc<Worker>,
    service: &Arc<Service>,
    endpoint: &Endpoint,
) -> Result<Connection, OpenError> {
    let deadline = connect_deadline(service);
    let dialled = dial_http1(&endpoint.address, &service.transport, &endpoint.stats, deadline).await;
    let connected = match dialled {
        Ok(opened) => speak(worker, service, endpoint, opened, deadline).await,
        Err(error) => Err(error),
    };
    match connected {
        Ok(Connected::Http1(connection)) => Ok(connection),
        Ok(Connected::Http2(_)) => Err(OpenError::NoHttp1),
        Err(error) => {
            let other = told(worker, service, endpoint, &error);
            let disagrees = matches!(error, DialError::Handshake { how: ServiceHandshake::NoProtocol, .. });
            Err(if disagrees { OpenError::NoHttp1 } else { other })
        }
    }
}

/// Opens a connection within `connect_timeout`, and tells why when it can not.
async fn connect(
    worker: &Rc<Worker>,
    service: &Arc<Service>,
    endpoint: &Endpoint,
) -> Result<Connected, OpenError> {
    let connected = connect_untold(worker, service, endpoint).await;
    connected.map_err(|error| told(worker, service, endpoint, &error))
}

/// Opens a connection within `connect_timeout` that carries no HTTP, only what a tunnel does.
pub(super) async fn open_for_tunnel(
    worker: &Worker,
    service: &Service,
    endpoint: &Endpoint,
) -> Result<End, OpenError> {
    let deadline = connect_deadline(service);
    let dialled = dial_for_tunnel(&endpoint.address, &service.transport, &endpoint.stats, deadline).await;
    let stream = dialled.map_err(|error| told(worker, service, endpoint, &error))?;
    endpoint.stats.connections.increment();
    Ok(match stream {
        Dialled::Plain(stream) => End::new(Io::plain(stream), Bytes::new()),
        Dialled::Tls(stream) => End::new(Io::secured(stream), Bytes::new()),
    })
}

/// Tells of a failed handshake, and what a failure means to whoever wants a connection.
fn told(worker: &Worker, service: &Service, endpoint: &Endpoint, error: &DialError) -> OpenError {
    let cause = error.to_string();
    if let DialError::Handshake { how, .. } = error {
        worker.tell_seldom("service_handshake_failed", || {
            vec![
                ("service", service.name.to_string()),
                ("endpoint", endpoint.address.to_string()),
                ("outcome", how.name().to_owned()),
                ("cause", cause.clone()),
            ]
        });
    }
    match error {
        DialError::Connect(error) if is_exhausted(error) => OpenError::Starved(cause.into()),
        error => OpenError::Failed(cause.into(), ProxyError::from(error)),
    }
}

fn connect_deadline(service: &Service) -> Instant {
    Instant::now() + service.config.connect_timeout.map_or(CONNECT_TIMEOUT_DEFAULT, |time| time.0)
}

async fn connect_untold(
    worker: &Rc<Worker>,
    service: &Arc<Service>,
    endpoint: &Endpoint,
) -> Result<Connected, DialError> {
    let deadline = connect_deadline(service);
    let opened = dial(&endpoint.address, &service.transport, &endpoint.stats, deadline).await?;
    speak(worker, service, endpoint, opened, deadline).await
}

/// Begins to speak HTTP on a new connection.
async fn speak(
    worker: &Rc<Worker>,
    service: &Arc<Service>,
    endpoint: &Endpoint,
    opened: Opened,
    deadline: Instant,
) -> Result<Connected, DialError> {
    endpoint.stats.connections.increment();
    match (opened.spoken, opened.stream) {
        (Spoken::Http1, Dialled::Plain(stream)) => http1(worker, service, endpoint, Io::plain(stream)).await,
        (Spoken::Http1, Dialled::Tls(stream)) => http1(worker, service, endpoint, Io::secured(stream)).await,
        (Spoken::Http2, Dialled::Plain(stream)) => http2(worker, service, endpoint, stream, deadline).await,
        (Spoken::Http2, Dialled::Tls(stream)) => http2(worker, service, endpoint, stream, deadline).await,
    }
}

async fn http1<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    worker: &Rc<Worker>,
    service: &Arc<Service>,
    endpoint: &Endpoint,
    io: Io<S>,
) -> Result<Connected, DialError> {
    let observation = Rc::<Observation>::default();
    let reader = Reader::answers(HeadLimits::from(&worker.client_limits));
    let readable = io.readable();
    let io = Observed::answers(io, reader, Rc::clone(&observation));
    let mut builder = http1::Builder::new();
    let headers_max = worker.client_limits.headers_max.get();
    if headers_max > HEADERS_MAX_OF_HYPER {
        builder.max_headers(headers_max as usize);
    }
    let (sender, mut driver) = builder.handshake(TokioIo::new(io)).await.map_err(DialError::Http)?;
    let (handing, handed) = oneshot::channel();
    let closing = Closing::of(worker, &observation, service, endpoint);
    let driver = tokio::task::spawn_local(async move {
        let closing = closing;
        let driving = poll_fn(|context| {
            // Who takes the last part of an answer wakes this task, though all of it was read.
            if closing.observation.rests() && readable.is_awaited() {
                return Poll::Pending;
            }
            Pin::new(&mut driver).poll(context)
        });
        // Its errors reach whoever waits for the answer on it.
        let in_order = driving.await.is_ok();
        let parts = driver.into_parts();
        let stream = parts.io.into_inner();
        if in_order && stream.has_switched() {
            // Whoever does not want it has let go of the connection.
            let _ = handing.send(Box::new(End::new(stream, parts.read_buf)));
        }
    });
    let (transport, driver) = (service.transport.id, AbortOnDrop(driver));
    let connection = Connection::http1(endpoint.id, transport, sender, observation, handed, driver);
    Ok(Connected::Http1(connection))
}

/// Tells what was refused on a connection when it is closed, from whichever side.
#[derive(Debug)]
struct Closing {
    worker: Rc<Worker>,
    observation: Rc<Observation>,
    service: String,
    endpoint: String,
}

impl Closing {
    fn of(
        worker: &Rc<Worker>,
        observation: &Rc<Observation>,
        service: &Service,
        endpoint: &Endpoint,
    ) -> Self {
        Self {
            worker: Rc::clone(worker),
            observation: Rc::clone(observation),
            service: service.name.to_string(),
            endpoint: endpoint.address.to_string(),
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let Some(Refusal { violation, .. }) = self.observation.refusal() else { return };
        self.worker.refused.refused_answer(violation);
        self.worker.events.tell("answer_refused", || {
            let (service, endpoint) = (self.service.clone(), self.endpoint.clone());
            vec![("service", service), ("endpoint", endpoint), ("reason", violation.name().to_owned())]
        });
    }
}

/// The answers to a PING come within this time where the file names none.
const PING_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// Bytes of one request's body that may wait for a service that is slow to read.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// A connection that is wanted no more says so and ends within this time, or is cut.
const CLOSING_MAX: Duration = Duration::from_secs(1);

async fn http2<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    worker: &Rc<Worker>,
    service: &Arc<Service>,
    endpoint: &Endpoint,
    stream: S,
    deadline: Instant,
) -> Result<Connected, DialError> {
    let config = &service.transport.http2;
    let window = |bytes: ByteSize| u32::try_from(bytes.bytes()).unwrap_or(u32::MAX >> 1);
    let (spawned, socket) = oneshot::channel();
    let mut builder = http2::Builder::new(ConnectionExecutor::new(spawned));
    builder
        .initial_stream_window_size(window(config.stream_window))
        .initial_connection_window_size(window(config.connection_window))
        .max_header_list_size(window(worker.client_limits.header_bytes_max))
        .max_send_buf_size(SEND_BUFFER_BYTES);
    if let Some(interval) = config.ping_interval {
        let timeout = config.ping_timeout.map_or(PING_TIMEOUT_DEFAULT, |time| time.0);
        builder.timer(TokioTimer::new()).keep_alive_interval(interval.0).keep_alive_timeout(timeout);
    }
    let observation = Rc::<Observation>::default();
    let limits = FloodLimits::of_service(&worker.client_limits);
    let reader = FrameReader::of_service(limits, config.streams_max.get(), MonotonicClock::now());
    let io = ObservedFrames::of_service(Io::new(stream), reader, Rc::clone(&observation));
    let preface = Rc::<Preface>::default();
    let io = Prefaced::new(io, Rc::clone(&preface));
    let (sender, driver) = builder.handshake(TokioIo::new(io)).await.map_err(DialError::Http)?;
    // Polled by a task of its own, and asked in between how many streams the service allows by now.
    let driver = Rc::new(RefCell::new(driver));
    let asked = Rc::downgrade(&driver);
    // hyper gives the socket to a task that nobody holds, and that ends only once all is written: never, when
    // the service has ceased to read. So the connection ends with who holds it.
    let mut socket = socket.await.map_err(|_| DialError::NotHttp2)?;
    let cutting = socket.0.abort_handle();
    let (held, mut released) = oneshot::channel();
    let closing = Closing::of(worker, &observation, service, endpoint);
    tokio::task::spawn_local(async move {
        let _closing = closing;
        // Its errors reach whoever waits for an answer on it.
        let driving = poll_fn(|context| Pin::new(&mut *driver.borrow_mut()).poll(context));
        let is_held = tokio::select! {
            _ = driving => true,
            _ = &mut released => false,
        };
        drop(driver);
        if is_held {
            // After a GOAWAY there are no new exchanges to drive, but those under way go on.
            let _ = released.await;
        }
        let _ = timeout(CLOSING_MAX, &mut socket.0).await;
    });
    match timeout_at(deadline, preface.spoken()).await {
        Ok(true) => {}
        Ok(false) => return Err(DialError::NotHttp2),
        Err(_) => return Err(DialError::NoPreface),
    }
    let peer_streams_max =
        Box::new(move || asked.upgrade().map_or(0, |driver| driver.borrow().current_max_send_streams()));
    let socket = Socket::new(cutting, held, worker.pool.live(endpoint));
    Ok(Connected::Http2(Multiplexed::new(sender, peer_streams_max, observation, socket, &service.transport)))
}
