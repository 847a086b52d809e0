//! From an endpoint's address to a stream on which HTTP is spoken, or whatever a tunnel carries.

use std::fmt;
use std::io;
use std::time::Duration;

use intertie_discovery::endpoint::Address;
use rustls::HandshakeKind;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::io::Protocol as Spoken;
use crate::config::Protocol;
use crate::plan::{Security, Transport};
use crate::stats::EndpointStats;
use crate::tls::{ServiceHandshake, ServiceTls};

/// The longest that opening a connection takes where the file names no limit.
pub(crate) const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);

/// An open stream, and the version of HTTP that its service expects on it.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) stream: Stream,
    pub(crate) spoken: Spoken,
}

#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    /// In a box, for it is many times larger.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why there is no connection. The service can not have seen a request.
#[derive(Debug)]
pub(crate) enum DialError {
    /// Its name has no address, or nobody could say which.
    Resolve(io::Error),
    ResolveTimeout,
    Connect(io::Error),
    ConnectTimeout,
    Handshake {
        how: ServiceHandshake,
        cause: Option<io::Error>,
    },
    /// The service's files of TLS were never read, so it must not be spoken to.
    Unread,
    /// The first bytes of the service are not those of HTTP/2, or it closed the connection instead.
    NotHttp2,
    /// It has said nothing.
    NoPreface,
    Http(hyper::Error),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) => write!(f, "its name has no address: {error}"),
            Self::ResolveTimeout => f.write_str("no address for its name within connect_timeout"),
            Self::Connect(error) => error.fmt(f),
            Self::ConnectTimeout => f.write_str("no connection within connect_timeout"),
            Self::Handshake { how, cause } => {
                f.write_str(how.words())?;
                cause.as_ref().map_or(Ok(()), |cause| write!(f, " ({cause})"))
            }
            Self::Unread => f.write_str("the files of its TLS have not been read"),
            Self::NotHttp2 => f.write_str("the service does not speak HTTP/2"),
            Self::NoPreface => {
                f.write_str("the service did not begin to speak HTTP/2 within connect_timeout")
            }
            Self::Http(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DialError {}

impl DialError {
    /// Whether it took too long.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::ResolveTimeout
                | Self::ConnectTimeout
                | Self::NoPreface
                | Self::Handshake { how: ServiceHandshake::TimedOut, .. }
        )
    }
}

/// Opens a stream to `address`, the handshake of TLS included, before `deadline`.
pub(crate) async fn dial(
    address: &Address,
    transport: &Transport,
    stats: &EndpointStats,
    deadline: Instant,
) -> Result<Dialled, DialError> {
    dial_for(address, transport, Some(transport.protocol), stats, deadline).await
}

/// The same where nothing but HTTP/1.1 will do, whatever else the service may speak.
pub(super) async fn dial_http1(
    address: &Address,
    transport: &Transport,
    stats: &EndpointStats,
    deadline: Instant,
) -> Result<Dialled, DialError> {
    dial_for(address, transport, Some(Protocol::Http1), stats, deadline).await
}

/// The same for what is not HTTP: nothing is said of a protocol in the handshake.
pub(super) async fn dial_for_tunnel(
    address: &Address,
    transport: &Transport,
    stats: &EndpointStats,
    deadline: Instant,
) -> Result<Stream, DialError> {
    dial_for(address, transport, None, stats, deadline).await.map(|dialled| dialled.stream)
}

async fn dial_for(
    address: &Address,
    transport: &Transport,
    protocol: Option<Protocol>,
    stats: &EndpointStats,
    deadline: Instant,
) -> Result<Dialled, DialError> {
    let tls = match &transport.security {
        Security::Plain => None,
        Security::Tls(tls) => Some(tls),
        Security::Unread => return Err(DialError::Unread),
    };
    let stream = connect(address, deadline).await?;
    stream.set_nodelay(true).map_err(DialError::Connect)?;
    let Some(tls) = tls else {
        let spoken = if transport.may_multiplex() { Spoken::Http2 } else { Spoken::Http1 };
        return Ok(Dialled { stream: Stream::Plain(stream), spoken });
    };
    let shaken = match timeout_at(deadline, shake(tls, address, protocol, stream)).await {
        Ok(shaken) => shaken.and_then(|stream| agreed(protocol, stream)),
        Err(_) => Err((ServiceHandshake::TimedOut, None)),
    };
    match shaken {
        Ok((how, stream, spoken)) => {
            stats.handshakes.ended(how);
            Ok(Dialled { stream: Stream::Tls(Box::new(stream)), spoken })
        }
        Err((how, cause)) => {
            stats.handshakes.ended(how);
            Err(DialError::Handshake { how, cause })
        }
    }
}

async fn connect(address: &Address, deadline: Instant) -> Result<TcpStream, DialError> {
    let opened = match address.socket_addr() {
        Some(address) => timeout_at(deadline, TcpStream::connect(address)).await,
        None => {
            let resolving = timeout_at(deadline, lookup_host((address.host(), address.port()))).await;
            let resolved = resolving.map_err(|_| DialError::ResolveTimeout)?.map_err(DialError::Resolve)?;
            let addresses: Vec<_> = resolved.collect();
            timeout_at(deadline, TcpStream::connect(&*addresses)).await
        }
    };
    opened.map_err(|_| DialError::ConnectTimeout)?.map_err(DialError::Connect)
}

type Failed = (ServiceHandshake, Option<io::Error>);

async fn shake(
    tls: &ServiceTls,
    address: &Address,
    protocol: Option<Protocol>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Failed> {
    let unnameable = |error| (ServiceHandshake::WrongName, Some(io::Error::other(error)));
    let name = tls.server_name(address.host()).map_err(unnameable)?;
    let connector = TlsConnector::from(tls.client().clone());
    let shaking = match protocol {
        Some(Protocol::Http1) => connector.with_alpn(vec![b"http/1.1".to_vec()]).connect(name, stream),
        Some(_) => connector.connect(name, stream),
        None => connector.with_alpn(Vec::new()).connect(name, stream),
    };
    shaking.await.map_err(|error| (ServiceHandshake::of(&error), Some(error)))
}

/// What was agreed on by ALPN; a service that knows nothing of it speaks HTTP/1.1.
fn agreed(
    wanted: Option<Protocol>,
    stream: TlsStream<TcpStream>,
) -> Result<(ServiceHandshake, TlsStream<TcpStream>, Spoken), Failed> {
    let (_, connection) = stream.get_ref();
    let how = match connection.handshake_kind() {
        Some(HandshakeKind::Resumed) => ServiceHandshake::Resumed,
        _ => ServiceHandshake::Completed,
    };
    let spoken = match connection.alpn_protocol() {
        Some(b"h2") => Spoken::Http2,
        _ if wanted == Some(Protocol::Http2) => return Err((ServiceHandshake::NoProtocol, None)),
        _ => Spoken::Http1,
    };
    Ok((how, stream, spoken))
}
