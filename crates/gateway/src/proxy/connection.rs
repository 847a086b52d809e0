//! One client connection: HTTP/1.1 or HTTP/2, by what TLS agreed on or else by how the client begins.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use intertie_core::clock::Instant;
use intertie_core::id::Id;
use intertie_resilience::MonotonicClock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::body::{BodyError, ResponseBody};
use super::exchange::{panicked, serve};
use super::io::{Io, Protocol};
use super::listener::{Kind, Secure};
use super::observed::{HEADERS_MAX_OF_HYPER, Observation, Observed, Refusal};
use super::tls::Secured;
use super::worker::Worker;
use super::{headers, redirect, tls};
use crate::config::ClientLimitsConfig;
use crate::tls::TlsStats;
use crate::wire::{HeadLimits, Reader, Violation};

/// How long a connection that has not said anything yet may still speak once the drain has begun.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// How long a connection that was asked to end may take to say goodbye.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// Serves `stream` until its client leaves, or, once `drain` turns true, until its requests are answered.
///
/// A client that says nothing at all is cut off like one that does not finish its head.
pub(super) async fn run(
    worker: Rc<Worker>,
    kind: Kind,
    stream: TcpStream,
    client: IpAddr,
    drain: watch::Receiver<bool>,
) {
    match kind {
        Kind::Plain => {
            let Some(Ok(Some((io, protocol)))) = begin(&worker, Io::accept(stream), &drain).await else {
                return;
            };
            converse(worker, io, protocol, client, None, drain).await;
        }
        // In boxes of their own, or each connection without TLS would have the size of one with it.
        Kind::Tls(secure) => Box::pin(run_secure(worker, secure, stream, client, drain)).await,
        Kind::Redirect { stats, port } => {
            Box::pin(run_redirect(worker, stats, port, stream, client, drain)).await;
        }
    }
}

async fn run_secure(
    worker: Rc<Worker>,
    secure: Secure,
    stream: TcpStream,
    client: IpAddr,
    drain: watch::Receiver<bool>,
) {
    let terms = secure.terms.get();
    let accepted = begin(&worker, tls::accept(&worker, &secure.stats, &terms, stream, client), &drain).await;
    let Some(Some((io, protocol, secured))) = accepted else { return };
    drop(terms);
    converse(worker, io, protocol, client, Some(secured), drain).await;
}

async fn run_redirect(
    worker: Rc<Worker>,
    stats: Arc<TlsStats>,
    port: u16,
    stream: TcpStream,
    client: IpAddr,
    drain: watch::Receiver<bool>,
) {
    let Some(Ok(Some((io, protocol)))) = begin(&worker, Io::accept(stream), &drain).await else { return };
    let client = Rc::new(Client::new(client, io.stalled(), None, Rc::default()));
    let service = service_fn(|request: Request<Incoming>| {
        let _under_way = client.begin();
        let answer = match client.next_request() {
            Some(_) => redirect::refuse(),
            None => {
                stats.redirects.increment();
                redirect::answer(&request.into_parts().0, port)
            }
        };
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
    client: IpAddr,
    secured: Option<Secured>,
    drain: watch::Receiver<bool>,
) {
    let client = Rc::new(Client::new(client, io.stalled(), secured, Rc::default()));
    let service = service_fn(|request: Request<Incoming>| {
        let worker = Rc::clone(&worker);
        let id = Id::random();
        let refused = client.next_request();
        // The exchange's future is large; in a box it is moved once instead of with its wrappers.
        let future = Box::pin(serve(Rc::clone(&worker), Rc::clone(&client), id, refused, request));
        let answer = Unwinding { worker, id, under_way: Some(client.begin()), future };
        async move { Ok::<_, Infallible>(answer.await) }
    });
    speak(&worker, io, protocol, service, &client, drain).await;
}

async fn speak<S, A, B>(
    worker: &Worker,
    io: Io<S>,
    protocol: Protocol,
    service: A,
    client: &Client,
    drain: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    A: HttpService<Incoming, ResBody = B, Error = Infallible, Future: 'static>,
    B: Body<Data: 'static, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
{
    let idle_max = worker.client_limits.idle_timeout;
    match protocol {
        Protocol::Http1 => {
            let io = observe(&worker.client_limits, TokioIo::new(io), &client.observation);
            let connection = http1(&worker.client_limits).serve_connection(TokioIo::new(io), service);
            drive(Box::pin(connection), http1::Connection::graceful_shutdown, client, idle_max, drain).await;
        }
        Protocol::Http2 => {
            let connection = http2::Builder::new(LocalExecutor).serve_connection(io, service);
            drive(Box::pin(connection), http2::Connection::graceful_shutdown, client, idle_max, drain).await;
        }
    }
    if let Some(refusal) = client.refusal() {
        worker.refused.refused_request(refusal.violation);
        worker.events.tell("request_refused", || {
            vec![("client", client.address.to_string()), ("reason", refusal.violation.name().to_owned())]
        });
    }
}

/// A connection on which every request is looked at before hyper reads it.
fn observe<S>(limits: &ClientLimitsConfig, stream: S, observation: &Rc<Observation>) -> Observed<S> {
    let reader = Reader::requests(HeadLimits::from(limits));
    Observed::requests(stream, reader, limits.header_timeout, Rc::clone(observation))
}

/// hyper's part, which must be told only of limits above its own: what is over the limit it never sees.
fn http1(limits: &ClientLimitsConfig) -> http1::Builder {
    let mut builder = http1::Builder::new();
    if limits.headers_max.get() > HEADERS_MAX_OF_HYPER {
        builder.max_headers(limits.headers_max.get() as usize);
    }
    builder
}

/// The client of a connection, as its exchanges know it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) address: IpAddr,
    /// The address as services are told it.
    pub(super) forwarded_for: HeaderValue,
    /// What TLS says of it, where it is spoken.
    pub(super) secured: Option<Secured>,
    under_way: Cell<usize>,
    /// Whether its socket takes no more for now.
    stalled: Rc<Cell<bool>>,
    idle_since: Cell<Instant>,
    observation: Rc<Observation>,
    /// Requests so far.
    requests: Cell<u64>,
}

impl Client {
    fn new(
        address: IpAddr,
        stalled: Rc<Cell<bool>>,
        secured: Option<Secured>,
        observation: Rc<Observation>,
    ) -> Self {
        Self {
            address,
            forwarded_for: headers::address_value(address),
            secured,
            under_way: Cell::new(0),
            stalled,
            idle_since: Cell::new(MonotonicClock::now()),
            observation,
            requests: Cell::new(0),
        }
    }

    /// Counts the request that comes now, and tells whether it stands in for one that was refused unread.
    fn next_request(&self) -> Option<Violation> {
        self.requests.set(self.requests.get() + 1);
        let refusal = self.observation.refusal()?;
        (refusal.stands_in && refusal.request == self.requests.get()).then_some(refusal.violation)
    }

    /// What was refused of its connection, if anything was.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.observation.refusal()
    }

    /// A request is answered until the guard is dropped.
    fn begin(self: &Rc<Self>) -> UnderWay {
        self.under_way.set(self.under_way.get() + 1);
        UnderWay(Rc::clone(self))
    }

    /// How long nothing has been under way: no request, and no answer on its way to a client that is slow to
    /// take it.
    fn idle_for(&self, now: Instant) -> Duration {
        if self.under_way.get() > 0 || self.stalled.get() {
            self.idle_since.set(now);
        }
        now.saturating_since(self.idle_since.get())
    }
}

/// A request from its head until its answer was handed over to the last byte.
#[derive(Debug)]
struct UnderWay(Rc<Client>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
        self.0.idle_since.set(MonotonicClock::now());
    }
}

pin_project_lite::pin_project! {
    /// An answer's body. hyper drops it when it has taken the last byte, also when HTTP/2's flow control made
    /// it wait for the client; the exchange itself ends with the service's last byte.
    struct Answering {
        #[pin]
        body: ResponseBody,
        under_way: Option<UnderWay>,
    }
}

impl Body for Answering {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.project().body.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Polls a connection to its end. One that is idle for `idle_max`, or that `drain` tells to end, is asked
/// to by `shut_down`, and cut off if it does not in time.
async fn drive<C: Future>(
    mut connection: Pin<Box<C>>,
    shut_down: fn(Pin<&mut C>),
    client: &Client,
    idle_max: Duration,
    mut drain: watch::Receiver<bool>,
) {
    let signal = drain.clone();
    let mut draining = pin!(drained(&mut drain));
    let mut timer = pin!(tokio::time::sleep(idle_max));
    // Each is polled once to leave this task's waker with it, and then only when it has something to say:
    // a request should not pay for what happens once in the life of a connection. The timer is lazy for
    // the same reason; it is set anew when it fires, not with each request.
    let (mut armed, mut told) = (false, false);
    poll_fn(|context| {
        loop {
            // First the connection: a request that already waits in its socket is taken before the drain is.
            // An error is the client's: it left, or did not speak HTTP; hyper has answered 400 where it could.
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let mut tell = false;
            if !told && (!armed || signal.has_changed().unwrap_or(true)) {
                tell = draining.as_mut().poll(context).is_ready();
            }
            while (!armed || timer.is_elapsed()) && timer.as_mut().poll(context).is_ready() {
                armed = false;
                let idle = client.idle_for(MonotonicClock::now());
                let left = idle_max.saturating_sub(idle);
                if left.is_zero() && told {
                    return Poll::Ready(());
                }
                tell |= left.is_zero();
                let next = if left.is_zero() { GOODBYE_MAX } else { left };
                timer.as_mut().reset(tokio::time::Instant::now() + next);
            }
            // Without budget left the timer may have been polled in vain.
            armed = tokio::task::coop::has_budget_remaining();
            if told || !tell {
                return Poll::Pending;
            }
            told = true;
            shut_down(connection.as_mut());
        }
    })
    .await;
}

async fn drained(drain: &mut watch::Receiver<bool>) {
    // A closed channel means that the gateway is gone, which drains as well.
    let _ = drain.wait_for(|draining| *draining).await;
}

/// Runs the streams of an HTTP/2 connection on the thread that accepted it.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F> Executor<F> for LocalExecutor
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

pin_project_lite::pin_project! {
    /// Turns a panic into an answer: it fails its own request, and no other on the connection.
    struct Unwinding<F> {
        worker: Rc<Worker>,
        id: Id,
        under_way: Option<UnderWay>,
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
        let under_way = this.under_way;
        polled.map(|response| response.map(|body| Answering { body, under_way: under_way.take() }))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const IDLE: Duration = Duration::from_millis(200);
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Serves one connection whose requests take `each`; what its client did and read, and how long the
    /// connection lived.
    async fn served<R>(
        idle_max: Duration,
        each: Duration,
        client: impl AsyncFnOnce(TcpStream) -> R,
        drain: watch::Receiver<bool>,
    ) -> (R, Duration) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let serving = async {
            let (stream, _) = listener.accept().await.expect("accepts");
            let (io, protocol) = Io::accept(stream).await.expect("read").expect("some bytes");
            let peer = Rc::new(Client::new([127, 0, 0, 1].into(), io.stalled(), None, Rc::default()));
            let began = MonotonicClock::now();
            let service = service_fn(|request: Request<Incoming>| {
                let under_way = peer.begin();
                async move {
                    tokio::time::sleep(each).await;
                    drop(under_way);
                    let large = request.uri().path() == "/large";
                    let body = if large { Bytes::from(vec![b'x'; LARGE]) } else { Bytes::from_static(b"ok") };
                    Ok::<_, Infallible>(Response::new(Full::new(body)))
                }
            });
            match protocol {
                Protocol::Http1 => {
                    let connection = http1::Builder::new().serve_connection(io, service);
                    drive(Box::pin(connection), http1::Connection::graceful_shutdown, &peer, idle_max, drain)
                        .await;
                }
                Protocol::Http2 => {
                    let connection = http2::Builder::new(LocalExecutor).serve_connection(io, service);
                    drive(Box::pin(connection), http2::Connection::graceful_shutdown, &peer, idle_max, drain)
                        .await;
                }
            }
            MonotonicClock::now().saturating_since(began)
        };
        let speaking = async { client(TcpStream::connect(address).await.expect("connects")).await };
        let local = tokio::task::LocalSet::new();
        let (lived, result) = local.run_until(async { tokio::join!(serving, speaking) }).await;
        (result, lived)
    }

    /// More than the sockets of both sides take.
    const LARGE: usize = 32 << 20;

    fn never() -> (watch::Sender<bool>, watch::Receiver<bool>) {
        watch::channel(false)
    }

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    async fn say(mut stream: TcpStream, words: &[u8]) -> String {
        stream.write_all(words).await.expect("written");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed() {
        let (_sender, drain) = never();
        let (answer, lived) =
            served(IDLE, Duration::ZERO, async |stream| say(stream, REQUEST).await, drain).await;
        assert!(answer.ends_with("ok"), "{answer}");
        assert!((IDLE..PATIENCE).contains(&lived), "{lived:?}");
    }

    #[tokio::test]
    async fn an_unfinished_head_is_cut_off() {
        let (_sender, drain) = never();
        let slow = async |stream| say(stream, &REQUEST[..9]).await;
        let (answer, lived) = served(IDLE, Duration::ZERO, slow, drain).await;
        assert_eq!(answer, "");
        assert!(lived >= IDLE + GOODBYE_MAX, "{lived:?}");
    }

    #[tokio::test]
    async fn a_long_exchange_is_not_idle() {
        let (_sender, drain) = never();
        let (answer, lived) = served(IDLE, IDLE * 3, async |stream| say(stream, REQUEST).await, drain).await;
        assert!(answer.ends_with("ok"), "{answer}");
        assert!(lived >= IDLE * 4, "idle counts from the end of the exchange: {lived:?}");
    }

    #[tokio::test]
    async fn an_answer_that_its_client_is_slow_to_take_is_not_idle() {
        let (_sender, drain) = never();
        let slow = async |mut stream: TcpStream| {
            stream.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
            tokio::time::sleep((IDLE + GOODBYE_MAX) * 2).await;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.expect("an orderly end");
            answer.len()
        };
        let (read, _) = served(IDLE, Duration::ZERO, slow, drain).await;
        assert!(read > LARGE, "{read} bytes");
    }

    #[tokio::test]
    async fn a_drain_ends_an_idle_connection_at_once_and_a_busy_one_after_its_answer() {
        for each in [Duration::ZERO, IDLE * 3] {
            let (sender, drain) = never();
            let client = async move |mut stream: TcpStream| {
                stream.write_all(REQUEST).await.expect("written");
                tokio::time::sleep(IDLE / 4).await;
                sender.send_replace(true);
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.expect("an orderly end");
                answer
            };
            let (answer, lived) = served(PATIENCE, each, client, drain).await;
            assert!(answer.ends_with("ok"), "{answer}");
            assert!((each..PATIENCE).contains(&lived), "{lived:?}");
        }
    }

    #[tokio::test]
    async fn an_idle_http2_connection_gets_a_goaway() {
        let (_sender, drain) = never();
        let client = async |mut stream: TcpStream| {
            // The preface and empty SETTINGS.
            let words = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
            stream.write_all(&words).await.expect("written");
            let mut frames = Vec::new();
            let _ = stream.read_to_end(&mut frames).await;
            frames
        };
        let (frames, lived) = served(IDLE, Duration::ZERO, client, drain).await;
        let mut rest = frames.as_slice();
        let mut kinds = Vec::new();
        while let [a, b, c, kind, _, _, _, _, _, payload @ ..] = rest {
            kinds.push(*kind);
            rest = &payload[usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c)..];
        }
        assert!(kinds.contains(&7), "GOAWAY among the frames {kinds:?}");
        assert!(lived >= IDLE + GOODBYE_MAX, "a client that does not answer it is cut off: {lived:?}");
    }
}
