//! Tests of the whole: the specification's own examples, what is refused, what comes back as it went.

mod properties;
mod refusals;
mod shapes;
mod specification;

use bytes::Bytes;

use super::{Envelope, EnvelopeError, Limits, binary, structured};

fn from_json(text: &str) -> Result<Envelope, EnvelopeError> {
    structured::read(&Bytes::copy_from_slice(text.as_bytes()), &Limits::default())
}

fn from_headers(headers: &[(&str, &str)], body: &[u8]) -> Result<Envelope, EnvelopeError> {
    let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
    binary::read(headers, Bytes::copy_from_slice(body), &Limits::default())
}
