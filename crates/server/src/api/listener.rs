//! Connections, from `accept` to their end.

use std::convert::Infallible;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

use super::exchange::answer;
use super::pace::{Pace, Standstill};
use super::{Counted, Phase, Shared};

/// How long to wait after a connection could not be accepted: most often there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The longest time between two looks for the second byte of a connection.
const SECOND_BYTE_PAUSE_MAX: Duration = Duration::from_millis(100);

/// How long a client of HTTP/2 may take to say that it has heard that its connection ends.
const GOAWAY_PATIENCE: Duration = Duration::from_secs(2);

/// Accepts and serves until the process ends or makes room, and then until the last connection has gone.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut phase = shared.phase.subscribe();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase > Phase::Serving) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if connections.len() < shared.limits.connections_max.get() as usize {
                        connections.spawn(serve_connection(stream, peer.ip(), Arc::clone(&shared)));
                    } else {
                        shared.counters.refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn serve_connection(stream: TcpStream, peer: IpAddr, shared: Arc<Shared>) {
    let _connected = Counted::new(&shared.counters.connections);
    let end = shared.phase.subscribe();
    // A small answer must not wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    // The kernel watches whether anything of what is sent is taken; without it a client that does not read keeps its
    // connection for ever.
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(shared.limits.send_timeout));
    let mut ending = end.clone();
    let opened = tokio::select! {
        opened = open(stream, &shared) => opened,
        // Who has not said what is spoken has nothing under way.
        _ = ending.wait_for(|phase| *phase == Phase::Ending) => None,
    };
    match opened {
        Some(Opened::Plain(stream, true)) => serve_http2(stream, peer, &shared, end).await,
        Some(Opened::Plain(stream, false)) => serve_http1(stream, peer, &shared, end).await,
        Some(Opened::Secured(stream, true)) => serve_http2(stream, peer, &shared, end).await,
        Some(Opened::Secured(stream, false)) => serve_http1(stream, peer, &shared, end).await,
        None => {}
    }
}

/// A connection of which it is known whether HTTP/2 is spoken on it.
enum Opened {
    Plain(TcpStream, bool),
    Secured(Box<TlsStream<TcpStream>>, bool),
}

/// Waits for the first words, and holds the handshake where TLS is spoken. `None` when there is nobody to serve.
async fn open(stream: TcpStream, shared: &Shared) -> Option<Opened> {
    let Some(terms) = shared.terms() else {
        let is_http2 = speaks_http2(&stream, shared.limits.header_timeout).await?;
        return Some(Opened::Plain(stream, is_http2));
    };
    let handshake = tokio::time::timeout(terms.handshake_timeout(), terms.acceptor().accept(stream)).await;
    let Ok(Ok(stream)) = handshake else {
        shared.counters.handshakes_failed.fetch_add(1, Ordering::Relaxed);
        return None;
    };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Some(Opened::Secured(Box::new(stream), is_http2))
}

/// Whether the client begins with the preface of HTTP/2 (RFC 9113, section 3.4), whose first two bytes no method of
/// this API has. `None` when it says nothing in time.
async fn speaks_http2(stream: &TcpStream, limit: Duration) -> Option<bool> {
    let first = async {
        let (mut bytes, mut pause) = ([0; 2], Duration::from_millis(1));
        loop {
            match stream.peek(&mut bytes).await {
                Ok(0) | Err(_) => return None,
                // The second byte is on its way; a socket that has one to read says so again at once.
                Ok(1) if bytes[0] == b'P' => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(SECOND_BYTE_PAUSE_MAX);
                }
                Ok(_) => return Some(bytes == *b"PR"),
            }
        }
    };
    tokio::time::timeout(limit, first).await.ok().flatten()
}

async fn serve_http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: IpAddr,
    shared: &Arc<Shared>,
    mut end: watch::Receiver<Phase>,
) {
    let mut builder = http1::Builder::new();
    let header_bytes_max = usize::try_from(shared.limits.header_bytes_max.bytes()).unwrap_or(usize::MAX);
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.header_timeout)
        .max_buf_size(header_bytes_max);
    let service = service_fn(|request| async { Ok::<_, Infallible>(answer(shared, peer, request).await) });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    // How a connection ended is its client's to know.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = end.wait_for(|phase| *phase == Phase::Ending) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

async fn serve_http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: IpAddr,
    shared: &Arc<Shared>,
    mut end: watch::Receiver<Phase>,
) {
    let header_bytes_max = u32::try_from(shared.limits.header_bytes_max.bytes()).unwrap_or(u32::MAX);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(shared.limits.streams_max.get())
        .max_header_list_size(header_bytes_max)
        // A client that is gone without a word is found out by it.
        .keep_alive_interval(shared.limits.header_timeout)
        .keep_alive_timeout(shared.limits.header_timeout);
    let pace = Pace::new();
    let (answering, counting) = (Arc::clone(shared), Arc::clone(&pace));
    let service = service_fn(move |request| {
        let (shared, waiting) = (Arc::clone(&answering), counting.request());
        async move { Ok::<_, Infallible>(waiting.answered(answer(&shared, peer, request).await)) }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let limits = Standstill { idle: shared.limits.header_timeout, untaken: shared.limits.send_timeout };
    tokio::select! {
        _ = connection.as_mut() => return,
        () = pace.until_it_stands_still(limits) => {}
        // GOAWAY says which requests are answered, so nothing is lost that is sent meanwhile.
        _ = end.wait_for(|phase| *phase > Phase::Serving) => {}
    }
    // Who has not said anything yet has nothing to lose, and may never say the rest of the preface.
    if !pace.is_used() && *end.borrow() != Phase::Leaving {
        return;
    }
    connection.as_mut().graceful_shutdown();
    pace.begin_anew();
    let limits = Standstill { idle: limits.idle.min(GOAWAY_PATIENCE), ..limits };
    tokio::select! {
        _ = connection => {}
        () = pace.until_it_stands_still(limits) => {}
    }
}
