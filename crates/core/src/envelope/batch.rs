//! Several events as one JSON document: the JSON Batch Format, version 1.0.2.

use bytes::Bytes;

use super::{Envelope, EnvelopeError, Limits, json, structured};

/// The media type of a batch.
pub const CONTENT_TYPE: &str = "application/cloudevents-batch+json";

/// Reads a batch, which may be empty: all of its events, or none when one is bad.
///
/// Each event has its data in memory of its own, so that one that is kept for long does not keep its batch.
///
/// # Errors
/// When it is no batch, when an event is not valid, or above one of the limits: which event, what and why.
pub fn read(input: &[u8], limits: &Limits) -> Result<Vec<Envelope>, EnvelopeError> {
    limits.check_message(input.len())?;
    let events_max = limits.batch_events_max.get() as usize;
    let events = json::elements(structured::utf8(input)?, events_max)?.ok_or_else(|| limits.batch())?;
    let read = |(position, event): (usize, &serde_json::value::RawValue)| {
        let keep = |data: &str| Bytes::copy_from_slice(data.as_bytes());
        structured::read_object(event.get(), limits, keep).map_err(|error| error.in_batch(position))
    };
    events.into_iter().enumerate().map(read).collect()
}

/// Writes a batch.
pub fn write<'a>(events: impl IntoIterator<Item = &'a Envelope>) -> Vec<u8> {
    let mut out = vec![b'['];
    for event in events {
        if out.len() > 1 {
            out.push(b',');
        }
        structured::write_into(event, &mut out);
    }
    out.push(b']');
    out
}
