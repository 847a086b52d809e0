//! The addresses that clients come to, and what is spoken there.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

use crate::tls::{Terms, TlsStats};

/// What a listener makes of the connections that it takes.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// HTTP without TLS.
    Plain,
    /// HTTP over TLS.
    Tls(Secure),
    /// Each request is sent to TLS at this port.
    Redirect {
        /// Where it is counted.
        stats: Arc<TlsStats>,
        /// The port of the redirect.
        port: u16,
    },
}

/// The terms in force, and the record of the handshakes under them.
#[derive(Debug, Clone)]
pub(super) struct Secure {
    pub(super) terms: CurrentTerms,
    pub(super) stats: Arc<TlsStats>,
}

/// The terms that a handshake that begins now is held under.
#[derive(Debug, Clone)]
pub(super) struct CurrentTerms(watch::Receiver<Arc<Terms>>);

impl CurrentTerms {
    pub(super) fn new(updates: watch::Receiver<Arc<Terms>>) -> Self {
        Self(updates)
    }

    /// They stay with the connection, whatever comes after them.
    pub(super) fn get(&self) -> Arc<Terms> {
        Arc::clone(&self.0.borrow())
    }
}

/// Connections that wait to be accepted on each listener.
pub(super) const BACKLOG: i32 = 1024;

pub(super) fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The first listener of an address finds out whether someone else has it: with SO_REUSEPORT a second
/// server of the same user would quietly take half of the first one's connections.
pub(super) fn bind_first(address: SocketAddr) -> io::Result<TcpListener> {
    if address.port() != 0 {
        drop(bind(address, false)?);
    }
    bind(address, true)
}
