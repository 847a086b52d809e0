//! Whether the bytes of a connection are HTTP/1.1 that can be read in exactly one way (RFC 9112), or HTTP/2
//! that is no flood.
//!
//! hyper reads the same bytes, but is lenient where others are lenient in another way: it takes bare line
//! feeds, folded lines, equal lengths that repeat. What two readers understand differently is how a request
//! is smuggled past one of them. So a [`Reader`] looks at the bytes before hyper does; it copies nothing,
//! keeps nothing of them but how they are framed, and lets no byte pass of a head that is in doubt.

mod block;
mod chunk;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod head;
mod http2;
mod line;
mod reader;
mod request;
mod stats;
#[cfg(test)]
mod tests;
mod violation;

use intertie_core::quantity::ByteSize;

use crate::config::ClientLimitsConfig;
pub(crate) use http2::{CodecLimits, FloodLimits, FrameReader, FrameWriter, Written};
pub(crate) use reader::{Reader, Seen};
pub(crate) use request::violation;
pub(crate) use stats::WireStats;
pub(crate) use violation::Violation;

impl From<&ClientLimitsConfig> for HeadLimits {
    fn from(config: &ClientLimitsConfig) -> Self {
        let bytes = |size: ByteSize| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
        Self {
            header_bytes_max: bytes(config.header_bytes_max),
            headers_max: config.headers_max.get() as usize,
            uri_bytes_max: bytes(config.uri_bytes_max),
        }
    }
}

/// Interim answers to one request. A service that says `100 Continue` for ever is not going to answer.
const INTERIM_MAX: u8 = 16;

/// What one message may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadLimits {
    /// Bytes of a head, from its first line to its empty one; the same for the trailers of a body.
    pub(crate) header_bytes_max: usize,
    /// Fields of a head, or of the trailers of a body.
    pub(crate) headers_max: usize,
    /// Bytes of a request's target.
    pub(crate) uri_bytes_max: usize,
}
