use serde::{Deserialize, Serialize};

use super::{Json, carrying, check_fields, payload, required};
use crate::envelope::{AttributeValue, Envelope, EnvelopeError, Reason, Time, extensions};

const NAME: &str = "Event";
/// The extension that holds the metadata, as JSON in ASCII.
const METADATA: &str = "metadata";

/// An event as an event store and a bus hold it, with metadata of any kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Event {
    /// The event's own id: `id`.
    pub id: String,
    /// What happened: `type`.
    pub r#type: String,
    /// The version of the data: the extension `eventversion`.
    pub version: String,
    /// The aggregate or service where it happened, which must be a URI-reference: `source`.
    pub source: String,
    /// When: `time`.
    pub timestamp: Time,
    /// What is particular to the type: the data.
    pub data: Json,
    /// What else is told: the extension `metadata`, where it is written in ASCII and without spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
}

impl TryFrom<&Event> for Envelope {
    type Error = EnvelopeError;

    fn try_from(event: &Event) -> Result<Self, EnvelopeError> {
        let mut envelope = Self::new(&event.id, &event.source, &event.r#type)?
            .with_time(event.timestamp.clone())
            .with_event_version(&event.version)?;
        if let Some(metadata) = &event.metadata {
            envelope = envelope.with_extension(METADATA, metadata.in_ascii().text())?;
        }
        carrying(envelope, &event.data)
    }
}

impl TryFrom<&Envelope> for Event {
    type Error = EnvelopeError;

    fn try_from(envelope: &Envelope) -> Result<Self, EnvelopeError> {
        use extensions::EVENT_VERSION;

        check_fields(envelope, NAME, &[EVENT_VERSION, METADATA])?;
        let time = envelope.time().cloned();
        let metadata = envelope.extension(METADATA).map(AttributeValue::text);
        let malformed = || EnvelopeError::new(METADATA, Reason::Malformed { expected: "JSON" });
        Ok(Self {
            id: envelope.id().to_owned(),
            r#type: envelope.r#type().to_owned(),
            version: required(envelope.event_version(), EVENT_VERSION)?,
            source: envelope.source().to_owned(),
            timestamp: time.ok_or_else(|| EnvelopeError::new("time", Reason::Missing))?,
            data: payload(envelope)?,
            metadata: metadata.map(|text| Json::new(&text).ok_or_else(malformed)).transpose()?,
        })
    }
}
