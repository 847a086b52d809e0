//! One client connection: HTTP/1.1 or HTTP/2, by what TLS agreed on or else by how the client begins.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use intertie_core::id::Id;
use intertie_resilience::MonotonicClock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::body::ResponseBody;
use super::client::{Answering, Client, Peer, UnderWay};
use super::drive::{Cut, drained, drive};
use super::exchange::{Refused, panicked, serve};
use super::io::{Io, Protocol};
use super::listener::{Kind, Secure};
use super::observed::{HEADERS_MAX_OF_HYPER, Observation, Observed, Refusal};
use super::observed_frames::ObservedFrames;
use super::streams::{StreamExecutor, Streams};
use super::tls::Secured;
use super::tunnel::End;
use super::worker::Worker;
use super::{introduction, redirect, tls};
use crate::config::ClientLimitsConfig;
use crate::tls::TlsStats;
use crate::wire::{CodecLimits, FloodLimits, FrameReader, HeadLimits, Reader, Violation, violation};

/// How long a connection that has not said anything yet may still speak once the drain has begun.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// Serves `stream` until its client leaves, or, once `drain` turns true, until its requests are answered.
///
/// A client that says nothing at all is cut off like one that does not finish its head.
pub(super) async fn run(
    worker: Rc<Worker>,
    kind: Kind,
    mut stream: TcpStream,
    address: IpAddr,
    drain: watch::Receiver<bool>,
) {
    let peer = if introduction::is_due(&worker, &kind) {
        let reading = Box::pin(introduction::read(&worker, &mut stream, address));
        let Some(Some(peer)) = begin(&worker, reading, &drain).await else { return };
        peer
    } else {
        Peer::new(address, &worker.trust)
    };
    match kind {
        Kind::Plain => {
            let Some(Ok(Some((io, protocol)))) = begin(&worker, Io::accept(stream), &drain).await else {
                return;
            };
            converse(worker, io, protocol, peer, None, drain).await;
        }
        // In boxes of their own, or each connection without TLS would have the size of one with it.
        Kind::Tls(secure) => Box::pin(run_secure(worker, secure, stream, peer, drain)).await,
        Kind::Redirect { stats, port } => {
            Box::pin(run_redirect(worker, stats, port, stream, peer, drain)).await;
        }
    }
}

async fn run_secure(
    worker: Rc<Worker>,
    secure: Secure,
    stream: TcpStream,
    peer: Peer,
    drain: watch::Receiver<bool>,
) {
    let terms = secure.terms.get();
    let accepted =
        begin(&worker, tls::accept(&worker, &secure.stats, &terms, stream, peer.address), &drain).await;
    let Some(Some((io, protocol, secured))) = accepted else { return };
    drop(terms);
    converse(worker, io, protocol, peer, Some(secured), drain).await;
}

async fn run_redirect(
    worker: Rc<Worker>,
    stats: Arc<TlsStats>,
    port: u16,
    stream: TcpStream,
    peer: Peer,
    drain: watch::Receiver<bool>,
) {
    let Some(Ok(Some((io, protocol)))) = begin(&worker, Io::accept(stream), &drain).await else { return };
    let client = Rc::new(Client::new(peer, io.stall(), None, Rc::default()));
    let service = service_fn(|request: Request<Incoming>| {
        let under_way = client.begin();
        let asks_tunnel = asks_tunnel(&request);
        let answer = match client.next_request() {
            Some(_) => redirect::refuse(),
            None => {
                stats.redirects.increment();
                redirect::answer(&request.into_parts().0, port)
            }
        };
        under_way.answered();
        let answer = if asks_tunnel { last(answer) } else { answer };
        async move { Ok::<_, Infallible>(answer) }
    });
    speak(&worker, io, protocol, service, &client, drain).await;
}

/// What comes before the first request, as long as it does not take too long.
async fn begin<T>(
    worker: &Worker,
    accepting: impl Future<Output = T>,
    drain: &watch::Receiver<bool>,
) -> Option<T> {
    let idle_max = worker.client_limits.idle_timeout;
    let mut leaving = drain.clone();
    tokio::select! {
        biased;
        accepted = tokio::time::timeout(idle_max, accepting) => accepted.ok(),
        // A client that has just connected is about to speak.
        () = async { drained(&mut leaving).await; tokio::time::sleep(DRAIN_GRACE).await } => None,
    }
}

/// Answers the requests that come on `io`.
async fn converse<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    worker: Rc<Worker>,
    io: Io<S>,
    protocol: Protocol,
    peer: Peer,
    secured: Option<Secured>,
    drain: watch::Receiver<bool>,
) {
    let client = Rc::new(Client::new(peer, io.stall(), secured, Rc::default()));
    let service = service_fn(|request: Request<Incoming>| {
        let worker = Rc::clone(&worker);
        let id = Id::random();
        let refused = refusal(&worker, &client, &request);
        let is_stream = request.version() == Version::HTTP_2;
        let asks_tunnel = asks_tunnel(&request);
        // The exchange's future is large; in a box it is moved once instead of with its wrappers.
        let future = Box::pin(serve(Rc::clone(&worker), Rc::clone(&client), id, refused, Box::new(request)));
        let under_way = if is_stream { client.begin_stream() } else { client.begin() };
        let answer = Unwinding { worker, id, under_way: Some(under_way), asks_tunnel, future };
        async move { Ok::<_, Infallible>(answer.await) }
    });
    speak(&worker, io, protocol, service, &client, drain).await;
}

/// Whether what follows a request on its connection was meant for a tunnel, whether or not that is opened.
fn asks_tunnel(request: &Request<Incoming>) -> bool {
    request.method() == Method::CONNECT && request.version() != Version::HTTP_2
}

/// The last answer on its connection.
fn last<B>(mut answer: Response<B>) -> Response<B> {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// Why a request is refused whatever it asks for, if it is.
fn refusal(worker: &Worker, client: &Client, request: &Request<Incoming>) -> Option<Refused> {
    let unread = client.next_request();
    if request.version() != Version::HTTP_2 {
        return unread.map(Refused::Unread);
    }
    let violation = violation(request, &HeadLimits::from(&worker.client_limits))?;
    client.note_refusal(worker, violation);
    Some(Refused::Read(violation))
}

async fn speak<S, A, B>(
    worker: &Rc<Worker>,
    io: Io<S>,
    protocol: Protocol,
    service: A,
    client: &Rc<Client>,
    drain: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    A: HttpService<Incoming, ResBody = B, Error = Infallible, Future: 'static>,
    B: Body<Data: 'static, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
{
    let limits = &worker.client_limits;
    let cut = |what| tell_cut(worker, client, what);
    let _untied = Untied(client);
    match protocol {
        Protocol::Http1 => {
            let io = observe(limits, io, &client.observation);
            let connection = http1(limits).serve_connection(TokioIo::new(io), service);
            let mut connection = Box::pin(connection);
            let shut_down = http1::Connection::graceful_shutdown;
            let in_order = drive(connection.as_mut(), shut_down, client, limits, drain, None, cut).await;
            if let Some(upgraded) = client.take_upgraded().filter(|_| in_order) {
                let parts = Pin::into_inner(connection).into_parts();
                Box::pin(upgraded.carry(End::new(parts.io.into_inner(), parts.read_buf))).await;
            }
        }
        Protocol::Http2 => {
            let io = observe_frames(worker, io, client);
            let connection = http2(limits, &client.streams).serve_connection(TokioIo::new(io), service);
            let mut connection = Box::pin(connection);
            let shut_down = http2::Connection::graceful_shutdown;
            // A request that crosses with GOAWAY is still answered, so it need not wait for the drain; HTTP/1.1 has
            // nothing like it, and its clients are told with their next answer.
            let leave = Some(worker.leaving.clone());
            let in_order = drive(connection.as_mut(), shut_down, client, limits, drain, leave, cut).await;
            if in_order && !client.observation.end_was_said() {
                // hyper ends a connection on which CONNECT announces content, and tells nobody.
                let violation = Violation::Http2Error;
                client.observation.refuse(Refusal { request: 0, violation, stands_in: false });
            }
        }
    }
    if let Some(refusal) = client.refusal() {
        client.note_refusal(worker, refusal.violation);
    }
}

/// Lets go of a tunnel that is not opened, whatever ends its connection: it holds its client, which holds it.
struct Untied<'a>(&'a Client);

impl Drop for Untied<'_> {
    fn drop(&mut self) {
        drop(self.0.take_upgraded());
    }
}

/// A connection on which every request is looked at before hyper reads it.
fn observe<S>(limits: &ClientLimitsConfig, stream: S, observation: &Rc<Observation>) -> Observed<S> {
    let reader = Reader::requests(HeadLimits::from(limits));
    Observed::requests(stream, reader, limits.header_timeout, Rc::clone(observation))
}

/// A connection whose frames are counted before h2 reads them.
fn observe_frames<S>(worker: &Rc<Worker>, stream: S, client: &Rc<Client>) -> ObservedFrames<S> {
    let reader = FrameReader::new(FloodLimits::from(&worker.client_limits), MonotonicClock::now());
    let (worker, teller) = (Rc::clone(worker), Rc::clone(client));
    let tell = Box::new(move |violation| teller.note_refusal(&worker, violation));
    ObservedFrames::of_client(stream, reader, Rc::clone(&client.observation), tell)
}

/// hyper's part, which must be told only of limits above its own: what is over the limit it never sees.
fn http1(limits: &ClientLimitsConfig) -> http1::Builder {
    let mut builder = http1::Builder::new();
    if limits.headers_max.get() > HEADERS_MAX_OF_HYPER {
        builder.max_headers(limits.headers_max.get() as usize);
    }
    builder
}

/// h2's part. It bounds what the reader can not see: what streams are and hold.
fn http2(limits: &ClientLimitsConfig, streams: &Rc<Streams>) -> http2::Builder<StreamExecutor> {
    let limits = CodecLimits::from(limits);
    let mut builder = http2::Builder::new(StreamExecutor(Rc::clone(streams)));
    builder
        .max_concurrent_streams(limits.streams)
        .max_frame_size(limits.frame_bytes)
        .max_header_list_size(limits.header_list_bytes)
        .max_pending_accept_reset_streams(limits.resets_unseen)
        .max_local_error_reset_streams(limits.resets_made)
        .max_send_buf_size(limits.send_buffer_bytes)
        .initial_stream_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .enable_connect_protocol();
    builder
}

/// Counts and tells what was cut off, since its client took nothing.
fn tell_cut(worker: &Worker, client: &Client, cut: Cut) {
    worker.refused.cut_off(cut);
    worker.tell_seldom(cut.event(), || {
        vec![("client", client.address.to_string()), ("limit", "send_timeout".to_owned())]
    });
}

pin_project_lite::pin_project! {
    /// Turns a panic into an answer: it fails its own request, and no other on the connection.
    struct Unwinding<F> {
        worker: Rc<Worker>,
        id: Id,
        under_way: Option<UnderWay>,
        asks_tunnel: bool,
        #[pin]
        future: F,
    }
}

impl<F: Future<Output = Response<ResponseBody>>> Future for Unwinding<F> {
    type Output = Response<Answering>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // The future is not polled again after it panicked, so no broken invariant is seen.
        let polled = match catch_unwind(AssertUnwindSafe(|| this.future.poll(context))) {
            Ok(poll) => poll,
            Err(_) => Poll::Ready(panicked(this.worker, *this.id)),
        };
        let (under_way, asks_tunnel) = (this.under_way, *this.asks_tunnel);
        let worker = this.worker;
        polled.map(|response| {
            let response = match under_way.as_ref().is_some_and(UnderWay::answered) {
                true => response,
                false if asks_tunnel => last(response),
                false => worker.farewell(response),
            };
            response.map(|body| Answering::new(body, under_way.take()))
        })
    }
}
