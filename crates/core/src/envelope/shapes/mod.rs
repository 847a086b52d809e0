//! Events and messages as other systems write them, to and from an [`Envelope`].
//!
//! | shape | whose |
//! |---|---|
//! | [`DomainEvent`] | events with the Unix time in milliseconds, and with who did it in their metadata |
//! | [`MessageEnvelope`] | messages of a queue, with headers and the queue for the answer |
//! | [`Event`] | events of an event store, with metadata of any kind |
//! | [`PublishedEvent`] | events of an aggregate, with what caused them and who published them |
//!
//! Both ways are `TryFrom` references. What a shape can not say is refused by [`Reason::NoField`] and never left out,
//! but for what concerns the way of a message and not the event: the trace, the partition, expiry, priority and the
//! place for an answer. The data is the payload itself, so that who reads CloudEvents needs to know no shape.

mod domain_event;
mod event;
mod integration_event_type;
mod json;
mod message_envelope;
mod published_event;

pub use domain_event::{DomainEvent, DomainEventMetadata};
pub use event::Event;
pub use integration_event_type::IntegrationEventType;
pub use json::Json;
pub use message_envelope::{MESSAGE_TYPE, MessageEnvelope};
pub use published_event::{PublicationMetadata, PublishedEvent};

use super::media_type::MediaType;
use super::{Data, Envelope, EnvelopeError, Form, Reason, extensions};

const JSON: &str = "application/json";

/// What concerns the way of a message and not the event.
const DELIVERY: [&str; 6] = [
    extensions::EXPIRY_TIME,
    extensions::PARTITION_KEY,
    extensions::PRIORITY,
    extensions::REPLY_TO,
    extensions::TRACE_PARENT,
    extensions::TRACE_STATE,
];

/// The event with `payload` as its data.
fn carrying(event: Envelope, payload: &Json) -> Result<Envelope, EnvelopeError> {
    event.with_data(Data::checked_json(payload.text().to_owned().into()), Some(JSON))
}

/// The event with an extension, when there is a value for it.
fn with(
    event: Envelope,
    set: fn(Envelope, &str) -> Result<Envelope, EnvelopeError>,
    text: Option<&str>,
) -> Result<Envelope, EnvelopeError> {
    match text {
        Some(text) => set(event, text),
        None => Ok(event),
    }
}

/// The payload.
fn payload(event: &Envelope) -> Result<Json, EnvelopeError> {
    let refused = |reason| EnvelopeError::new("data", reason);
    let data = event.data().ok_or_else(|| refused(Reason::Missing))?;
    let text = data.as_text().filter(|_| data.form() == Form::Json);
    text.and_then(Json::new).ok_or_else(|| refused(Reason::WrongType { expected: "JSON" }))
}

fn required(text: Option<impl Into<String>>, name: &'static str) -> Result<String, EnvelopeError> {
    text.map(Into::into).ok_or_else(|| EnvelopeError::new(name, Reason::Missing))
}

/// Refuses an event that says more than `shape` can: an optional attribute or an extension that is not among its
/// `fields`.
fn check_fields(event: &Envelope, shape: &'static str, fields: &[&str]) -> Result<(), EnvelopeError> {
    let another_json = event.data_content_type().filter(|content_type| {
        MediaType::parse(content_type).is_none_or(|media_type| !media_type.essence.eq_ignore_ascii_case(JSON))
    });
    let attributes = [
        ("subject", event.subject().is_some()),
        ("dataschema", event.data_schema().is_some()),
        ("datacontenttype", another_json.is_some()),
    ];
    let set = attributes.into_iter().filter(|(_, set)| *set).map(|(name, _)| name);
    let extensions = event.extensions().map(|(name, _)| name).filter(|name| !DELIVERY.contains(name));
    match set.chain(extensions).find(|name| !fields.contains(name)) {
        Some(name) => Err(EnvelopeError::new(name, Reason::NoField { shape })),
        None => Ok(()),
    }
}
