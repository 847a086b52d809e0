//! The handshake with a client: from a socket to a stream, and what it tells of the client.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderValue;
use rustls::server::Acceptor;
use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::io::{Io, Protocol, reset};
use super::worker::Worker;
use crate::tls::{Outcome, Terms, TlsStats, identity};

/// What is known of a client beyond its address because its connection is secured.
#[derive(Debug)]
pub(super) struct Secured {
    /// `1.2` or `1.3`.
    pub(super) version: &'static str,
    /// The name that it asked for, if any.
    pub(super) server_name: Option<String>,
    /// The terms under which its handshake was held.
    pub(super) terms: Arc<Terms>,
    /// Whom its verified certificate names.
    pub(super) identity: Option<HeaderValue>,
}

impl Secured {
    /// Whether a request for `host` may come on the connection: for the name that it was opened for, or another
    /// one of the same certificate (RFC 9113, section 9.1.1). Who asked for no name may ask for any host.
    pub(super) fn is_for(&self, host: &str) -> bool {
        let Some(name) = &self.server_name else { return true };
        let host = host.trim_end_matches('.');
        name.eq_ignore_ascii_case(host) || self.terms.are_one(name, host)
    }
}

/// For who speaks anything else where TLS is spoken, which most often is HTTP.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\
    content-length: 51\r\n\r\nthis port speaks TLS: ask for https instead of http";

/// Holds the handshake under `terms` and counts how it ended. `None` when there is nobody to serve.
pub(super) async fn accept(
    worker: &Worker,
    stats: &TlsStats,
    terms: &Arc<Terms>,
    stream: TcpStream,
    client: IpAddr,
) -> Option<(Io<TlsStream<TcpStream>>, Protocol, Secured)> {
    let handshake = tokio::time::timeout(terms.handshake_timeout, shake(terms, stream));
    let (outcome, accepted, cause) = match handshake.await {
        Err(_) => (Outcome::TimedOut, None, "it took longer than handshake_timeout".to_owned()),
        Ok(Err((outcome, cause))) => (outcome, None, cause),
        Ok(Ok((outcome, accepted))) => (outcome, Some(accepted), String::new()),
    };
    stats.ended(outcome);
    if accepted.is_none() && outcome != Outcome::ClientLeft {
        worker.tell_seldom("tls_handshake_failed", || {
            vec![("client", client.to_string()), ("outcome", outcome.name().to_owned()), ("cause", cause)]
        });
    }
    accepted
}

type Accepted = (Io<TlsStream<TcpStream>>, Protocol, Secured);

async fn shake(terms: &Arc<Terms>, stream: TcpStream) -> Result<(Outcome, Accepted), (Outcome, String)> {
    let failed = |error: std::io::Error| (Outcome::of(&error), error.to_string());
    match first_byte(&stream).await.map_err(failed)? {
        Some(HANDSHAKE) => {}
        Some(_) => {
            refuse_plain(stream).await;
            return Err((Outcome::NotTls, "the first byte is not that of a handshake".to_owned()));
        }
        None => return Err((Outcome::ClientLeft, String::new())),
    }
    let acceptor = LazyConfigAcceptor::new(Acceptor::default(), stream);
    let hello = acceptor.await.map_err(failed)?;
    let known = terms.knows(hello.client_hello().server_name());
    let stream = hello.into_stream(Arc::clone(&terms.server)).await.map_err(|error| {
        let (outcome, cause) = failed(error);
        if known { (outcome, cause) } else { (Outcome::UnknownName, cause) }
    })?;
    let (_, connection) = stream.get_ref();
    let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
    let outcome = if resumed { Outcome::Resumed } else { Outcome::Completed };
    let protocol = if connection.alpn_protocol() == Some(b"h2") { Protocol::Http2 } else { Protocol::Http1 };
    let secured = secured(connection, terms)
        .ok_or_else(|| (Outcome::ClientCertificate, "the client's certificate names nobody".to_owned()))?;
    Ok((outcome, (Io::abortable(stream, |stream| reset(stream.get_ref().0)), protocol, secured)))
}

/// The type of the record that a handshake begins with (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// Looked at before rustls does, which would answer in TLS whoever does not speak it.
async fn first_byte(stream: &TcpStream) -> std::io::Result<Option<u8>> {
    let mut byte = [0];
    let peeked = stream.peek(&mut byte).await?;
    Ok((peeked > 0).then_some(byte[0]))
}

async fn refuse_plain(mut stream: TcpStream) {
    // Closing a socket with something unread in it resets the connection, and the answer with it.
    let _ = stream.try_read(&mut [0; 4096]);
    let _ = stream.write_all(PLAIN_HTTP).await;
    let _ = stream.shutdown().await;
}

/// `None` for a certificate that names nobody: its holder must not pass for a client without one.
fn secured(connection: &ServerConnection, terms: &Arc<Terms>) -> Option<Secured> {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "1.3",
        _ => "1.2",
    };
    let identity = match connection.peer_certificates().and_then(<[_]>::first) {
        Some(certificate) => Some(HeaderValue::try_from(identity(certificate)?).ok()?),
        None => None,
    };
    let server_name = connection.server_name().map(str::to_owned);
    Some(Secured { version, server_name, terms: Arc::clone(terms), identity })
}
