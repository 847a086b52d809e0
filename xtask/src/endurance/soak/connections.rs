//! The connections of clients: kept for a while, opened anew, and closed with whoever had them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::super::gateway::Gateway;
use super::super::identity::{Identity, NAME};
use super::body::Parts;

/// Exchanges on one connection of HTTP/1.1, and on one of HTTP/2, before another is opened.
const HTTP1_EXCHANGES: u32 = 100;
const HTTP2_EXCHANGES: u32 = 500;

/// What a client of HTTP/2 lets come of one answer before it has read some.
const WINDOW_BYTES: u32 = 64 * 1024;

/// What the kernel holds for a slow client.
const SLOW_BUFFER_BYTES: u32 = 16 * 1024;

/// All clients have these together.
#[derive(Debug)]
pub(super) struct Connections {
    plain: SocketAddr,
    secure: SocketAddr,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    /// Idle ones of HTTP/1.1, without TLS and with it.
    idle: [Mutex<Vec<Http1>>; 2],
    /// The one of HTTP/2 that new exchanges go to, and how many it has carried.
    shared: tokio::sync::Mutex<Option<(http2::SendRequest<Parts>, u32)>>,
}

/// A connection of HTTP/1.1; it closes when this is dropped.
#[derive(Debug)]
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<Parts>,
    secure: bool,
    exchanges: u32,
    _connection: JoinSet<()>,
}

impl Connections {
    pub(super) fn new(gateway: &Gateway, identity: &Identity) -> Result<Self> {
        Ok(Self {
            plain: gateway.address,
            secure: gateway.secure,
            http1: identity.client(b"http/1.1")?,
            http2: identity.client(b"h2")?,
            idle: Default::default(),
            shared: Default::default(),
        })
    }

    /// An idle connection of HTTP/1.1, or a new one. Who is `slow` gets one of its own, with little room.
    pub(super) async fn http1(&self, secure: bool, slow: bool) -> Result<Http1> {
        if !slow {
            let mut idle = self.idle[usize::from(secure)].lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|idle| !idle.sender.is_closed());
            if let Some(kept) = idle.pop() {
                return Ok(kept);
            }
        }
        if secure {
            opened(self.tls(&self.http1, slow).await?, secure).await
        } else {
            opened(connect(self.plain, slow).await?, secure).await
        }
    }

    /// Takes a connection back whose answer has been read.
    pub(super) async fn keep(&self, mut http1: Http1) {
        http1.exchanges += 1;
        if http1.exchanges < HTTP1_EXCHANGES && http1.sender.ready().await.is_ok() {
            let idle = &self.idle[usize::from(http1.secure)];
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(http1);
        }
    }

    /// The shared connection of HTTP/2, or a new one. Whoever has the old one ends on it what was begun.
    pub(super) async fn http2(&self) -> Result<http2::SendRequest<Parts>> {
        // Whoever comes while it is opened waits for it.
        let mut shared = self.shared.lock().await;
        if let Some((sender, exchanges)) = &mut *shared
            && !sender.is_closed()
            && *exchanges < HTTP2_EXCHANGES
        {
            *exchanges += 1;
            return Ok(sender.clone());
        }
        let stream = self.tls(&self.http2, false).await?;
        ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "the gateway does not offer HTTP/2");
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(WINDOW_BYTES);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        // WebSockets wait until they are offered, which hyper tells nobody.
        while !connection.is_extended_connect_protocol_enabled() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::spawn(connection);
        *shared = Some((sender.clone(), 1));
        Ok(sender)
    }

    async fn tls(
        &self,
        config: &Arc<ClientConfig>,
        slow: bool,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let stream = connect(self.secure, slow).await?;
        let name = ServerName::try_from(NAME)?;
        Ok(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?)
    }
}

async fn connect(to: SocketAddr, slow: bool) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if slow {
        socket.set_recv_buffer_size(SLOW_BUFFER_BYTES)?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn opened(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, secure: bool) -> Result<Http1> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut task = JoinSet::new();
    task.spawn(async move {
        // Whoever asked on it is told of errors.
        let _ = connection.with_upgrades().await;
    });
    Ok(Http1 { sender, secure, exchanges: 0, _connection: task })
}
