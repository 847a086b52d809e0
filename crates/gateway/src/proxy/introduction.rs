//! The header by which a trusted proxy introduces a connection, read before anything else of it.

use std::io;
use std::net::IpAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::client::Peer;
use super::listener::Kind;
use super::worker::Worker;
use crate::forwarded::ProxyProtocol;
use crate::proxy_protocol::{
    BEGIN_BYTES, HEAD_BYTES, LINE_BYTES_MAX, Refusal, Source, Version, v1_source, v2_head, v2_source, version,
};

/// Whether connections of this kind are introduced.
pub(super) fn is_due(worker: &Worker, kind: &Kind) -> bool {
    let protocol = match kind {
        Kind::Plain => worker.trust.proxy_protocol,
        Kind::Tls(_) | Kind::Redirect { .. } => worker.trust.tls_proxy_protocol,
    };
    protocol == ProxyProtocol::Required
}

/// Reads the header that the connection of `peer` begins with, and not a byte more: whom it is from. `None` when
/// there is nobody to serve; unless it just left, that is counted and told.
pub(super) async fn read(worker: &Worker, stream: &mut TcpStream, peer: IpAddr) -> Option<Peer> {
    let refusal = if worker.trust.covers(peer) {
        let limit = worker.client_limits.header_timeout;
        match tokio::time::timeout(limit, header(stream)).await {
            Ok(Ok(Ok(source))) => {
                return Some(match source {
                    Source::Client(client) => Peer::new(client, &worker.trust),
                    Source::Proxy => Peer { address: peer, is_trusted: true },
                    // What it says of the way is the client's own word.
                    Source::Unknown => Peer { address: peer, is_trusted: false },
                });
            }
            Ok(Ok(Err(refusal))) => refusal,
            // Checks of health often connect and leave.
            Ok(Err(_)) => return None,
            Err(_) => Refusal::TimedOut,
        }
    } else {
        Refusal::Untrusted
    };
    worker.introductions.refused(refusal);
    worker.tell_seldom("proxy_protocol_refused", || {
        vec![
            ("client", peer.to_string()),
            ("reason", refusal.name().to_owned()),
            ("cause", refusal.to_string()),
        ]
    });
    None
}

/// The outer error is that of the connection.
async fn header(stream: &mut TcpStream) -> io::Result<Result<Source, Refusal>> {
    let mut begin = [0; BEGIN_BYTES];
    stream.read_exact(&mut begin).await?;
    match version(&begin) {
        None => Ok(Err(Refusal::Missing)),
        Some(Version::V1) => line(stream, begin).await,
        Some(Version::V2) => {
            let mut bytes = [0; HEAD_BYTES];
            bytes[..BEGIN_BYTES].copy_from_slice(&begin);
            stream.read_exact(&mut bytes[BEGIN_BYTES..]).await?;
            let head = match v2_head(&bytes) {
                Ok(head) => head,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let mut addresses = [0; 36];
            let addresses = &mut addresses[..head.addresses_length()];
            stream.read_exact(addresses).await?;
            skip(stream, head.length - addresses.len()).await?;
            Ok(Ok(v2_source(head, addresses)))
        }
    }
}

/// Reads a header of version 1 to its end. What was looked at is read only as far as it belongs to the header.
async fn line(stream: &mut TcpStream, begin: [u8; BEGIN_BYTES]) -> io::Result<Result<Source, Refusal>> {
    let mut line = [0; LINE_BYTES_MAX];
    line[..BEGIN_BYTES].copy_from_slice(&begin);
    let mut length = BEGIN_BYTES;
    loop {
        if let Some(end) = line[..length].iter().position(|byte| *byte == b'\n') {
            let whole = line[..end].strip_suffix(b"\r").filter(|_| end + 1 == length);
            return Ok(whole.ok_or(Refusal::Malformed).and_then(v1_source));
        }
        if length == LINE_BYTES_MAX {
            return Ok(Err(Refusal::Malformed));
        }
        let seen = stream.peek(&mut line[length..]).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = line[length..length + seen].iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(seen, |end| end + 1);
        length += stream.read_exact(&mut line[length..length + taken]).await?;
    }
}

async fn skip(stream: &mut TcpStream, mut left: usize) -> io::Result<()> {
    let mut scratch = [0; 512];
    while left > 0 {
        let piece = left.min(scratch.len());
        left -= stream.read_exact(&mut scratch[..piece]).await?;
    }
    Ok(())
}
