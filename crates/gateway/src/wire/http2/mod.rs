//! What the frames of an HTTP/2 connection do to the gateway (RFC 9113).
//!
//! h2 reads the same frames, and answers each as the protocol wants. What it does not ask is how many of
//! them a client may send that cost their sender nothing and the gateway an answer, a stream or a turn. So a
//! [`FrameReader`] looks at the headers of frames before h2 does, a [`FrameWriter`] at those that h2 writes;
//! neither keeps a payload.

mod config;
#[cfg(test)]
mod cost;
mod flood;
mod header;
mod reader;
#[cfg(test)]
mod tests;
mod unanswered;
mod writer;

/// Bytes of what a client says first (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;

pub(crate) use config::{CodecLimits, FloodLimits};
pub(crate) use reader::FrameReader;
pub(crate) use writer::{FrameWriter, Written};
