//! A connection from its first poll to its end: what idleness and a drain make of it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use intertie_resilience::MonotonicClock;
use tokio::sync::watch;

use super::client::Client;
use super::streams::LOOKS;
use crate::config::ClientLimitsConfig;

/// How long a connection that was asked to end may take to say goodbye.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// Polls a connection to its end; true when that was in order. One that is idle for too long, or that `drain`
/// tells to end, is asked to by `shut_down`, and cut off if it does not in time. With `leave`, so is one that has
/// had a request when that turns true: who has just connected is about to send one, and comes back for the next.
/// One whose client takes nothing of what waits for it is cut off too, or that stream alone; `cut` hears of it.
pub(super) async fn drive<C, E>(
    mut connection: Pin<&mut C>,
    shut_down: fn(Pin<&mut C>),
    client: &Client,
    limits: &ClientLimitsConfig,
    mut drain: watch::Receiver<bool>,
    mut leave: Option<watch::Receiver<bool>>,
    cut: impl Fn(Cut),
) -> bool
where
    C: Future<Output = Result<(), E>>,
{
    let (idle_max, send_max) = (limits.idle_timeout, limits.send_timeout);
    let look_every = send_max / LOOKS;
    let mut next_look = tokio::time::Instant::now() + look_every;
    let (signal, leave_signal) = (drain.clone(), leave.clone());
    let leave_signalled = || leave_signal.as_ref().is_some_and(|signal| signal.has_changed().unwrap_or(true));
    let mut draining = pin!(drained(&mut drain));
    let mut leaving = pin!(async {
        match &mut leave {
            Some(leave) => drained(leave).await,
            None => std::future::pending().await,
        }
    });
    let mut timer = pin!(tokio::time::sleep(idle_max.min(look_every)));
    // Each is polled once to leave this task's waker with it, and then only when it has something to say:
    // a request should not pay for what happens once in the life of a connection. The timer is lazy for
    // the same reason; it is set anew when it fires, not with each request.
    let (mut armed, mut told, mut left) = (false, false, false);
    poll_fn(|context| {
        loop {
            // First the connection: a request that already waits in its socket is taken before the drain is.
            // An error is the client's: it left, or did not speak HTTP; hyper has answered 400 where it could.
            if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                return Poll::Ready(ended.is_ok());
            }
            if let Some(over) = client.stalled_until(send_max) {
                // Its time may end before that of the idle time which began before.
                if over < timer.deadline() {
                    timer.as_mut().reset(over);
                    armed = false;
                }
            }
            let mut tell = false;
            if !told && (!armed || signal.has_changed().unwrap_or(true)) {
                tell = draining.as_mut().poll(context).is_ready();
            }
            if !told && !left && (!armed || leave_signalled()) {
                left = leaving.as_mut().poll(context).is_ready();
            }
            tell |= left && client.has_asked();
            while (!armed || timer.is_elapsed()) && timer.as_mut().poll(context).is_ready() {
                armed = false;
                if client.stalled_until(send_max).is_some_and(|over| over <= tokio::time::Instant::now()) {
                    client.cut_off();
                    cut(Cut::Connection);
                    return Poll::Ready(false);
                }
                let streams = client.streams.are_used();
                if streams && tokio::time::Instant::now() >= next_look {
                    next_look = tokio::time::Instant::now() + look_every;
                    (0..client.streams.look()).for_each(|_| cut(Cut::Stream));
                }
                let idle = client.idle_for(MonotonicClock::now());
                let rest = idle_max.saturating_sub(idle);
                if rest.is_zero() && told {
                    return Poll::Ready(false);
                }
                tell |= rest.is_zero();
                let next = if rest.is_zero() { GOODBYE_MAX } else { rest };
                let next = tokio::time::Instant::now() + next;
                let looks = streams && !rest.is_zero();
                let next = if looks { next.min(next_look) } else { next };
                timer.as_mut().reset(client.stalled_until(send_max).map_or(next, |over| next.min(over)));
            }
            // Without budget left the timer may have been polled in vain.
            armed = tokio::task::coop::has_budget_remaining();
            if told || !tell {
                return Poll::Pending;
            }
            told = true;
            client.observation.note_end();
            shut_down(connection.as_mut());
        }
    })
    .await
}

pub(super) async fn drained(drain: &mut watch::Receiver<bool>) {
    // A closed channel means that the gateway is gone, which drains as well.
    let _ = drain.wait_for(|draining| *draining).await;
}

/// What is cut off when its client takes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Connection,
    /// A stream of HTTP/2, whose window the client withholds.
    Stream,
}

impl Cut {
    /// The event that tells it.
    pub(super) const fn event(self) -> &'static str {
        match self {
            Self::Connection => "connection_cut",
            Self::Stream => "stream_cut",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::rc::Rc;

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::body::Incoming;
    use hyper::server::conn::{http1, http2};
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::proxy::client::Peer;
    use crate::proxy::io::{Io, Protocol};
    use crate::proxy::streams::StreamExecutor;

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
            let peer = Peer { address: [127, 0, 0, 1].into(), is_trusted: false };
            let peer = Rc::new(Client::new(peer, io.stall(), None, Rc::default()));
            let began = MonotonicClock::now();
            let limits = ClientLimitsConfig { idle_timeout: idle_max, ..ClientLimitsConfig::default() };
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
                    let connection = http1::Builder::new().serve_connection(TokioIo::new(io), service);
                    drive(
                        pin!(connection),
                        http1::Connection::graceful_shutdown,
                        &peer,
                        &limits,
                        drain,
                        None,
                        |_| (),
                    )
                    .await;
                }
                Protocol::Http2 => {
                    let connection = http2::Builder::new(StreamExecutor(Rc::clone(&peer.streams)))
                        .serve_connection(TokioIo::new(io), service);
                    drive(
                        pin!(connection),
                        http2::Connection::graceful_shutdown,
                        &peer,
                        &limits,
                        drain,
                        None,
                        |_| (),
                    )
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
