use serde::{Deserialize, Serialize};

use super::{Json, carrying, check_fields, payload, required, with};
use crate::clock::Timestamp;
use crate::envelope::{Envelope, EnvelopeError, Reason, Time, extensions};

const NAME: &str = "DomainEvent";
const NANOS_PER_MILLISECOND: u64 = 1_000_000;

/// An event of a domain, with the time as a number and who did it in its metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DomainEvent {
    /// The event's own id: `id`.
    pub id: String,
    /// What happened: `type`.
    pub r#type: String,
    /// When, in milliseconds since 1970-01-01T00:00:00Z: `time`.
    pub timestamp: u64,
    /// The context in which it happened, which must be a URI-reference: `source`.
    pub source: String,
    /// The request that it belongs to: the extension `correlationid`.
    pub correlation_id: String,
    /// What is particular to the type: the data.
    pub payload: Json,
    /// Version and person.
    pub metadata: DomainEventMetadata,
}

/// What a [`DomainEvent`] tells beside its payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DomainEventMetadata {
    /// The version of the payload: the extension `eventversion`.
    pub version: String,
    /// Who did it: the extension `userid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// In which session: the extension `sessionid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

impl TryFrom<&DomainEvent> for Envelope {
    type Error = EnvelopeError;

    fn try_from(event: &DomainEvent) -> Result<Self, EnvelopeError> {
        let nanos = event.timestamp.checked_mul(NANOS_PER_MILLISECOND).ok_or_else(|| {
            EnvelopeError::new("time", Reason::Malformed { expected: "a time before the year 2554" })
        })?;
        let envelope = Self::new(&event.id, &event.source, &event.r#type)?
            .with_time(Timestamp::from_unix_nanos(nanos))
            .with_correlation_id(&event.correlation_id)?
            .with_event_version(&event.metadata.version)?;
        let envelope = with(envelope, Self::with_user_id, event.metadata.user_id.as_deref())?;
        let envelope = with(envelope, Self::with_session_id, event.metadata.session_id.as_deref())?;
        carrying(envelope, &event.payload)
    }
}

impl TryFrom<&Envelope> for DomainEvent {
    type Error = EnvelopeError;

    fn try_from(envelope: &Envelope) -> Result<Self, EnvelopeError> {
        use extensions::{CORRELATION_ID, EVENT_VERSION, SESSION_ID, USER_ID};

        check_fields(envelope, NAME, &[CORRELATION_ID, EVENT_VERSION, SESSION_ID, USER_ID])?;
        Ok(Self {
            id: envelope.id().to_owned(),
            r#type: envelope.r#type().to_owned(),
            timestamp: milliseconds(envelope.time())?,
            source: envelope.source().to_owned(),
            correlation_id: required(envelope.correlation_id(), CORRELATION_ID)?,
            payload: payload(envelope)?,
            metadata: DomainEventMetadata {
                version: required(envelope.event_version(), EVENT_VERSION)?,
                user_id: envelope.user_id().map(Into::into),
                session_id: envelope.session_id().map(Into::into),
            },
        })
    }
}

/// A finer time would be rounded, and one before 1970 has no number.
fn milliseconds(time: Option<&Time>) -> Result<u64, EnvelopeError> {
    let refused = |reason| EnvelopeError::new("time", reason);
    let time = time.ok_or_else(|| refused(Reason::Missing))?;
    let nanos = time.timestamp().map(Timestamp::as_unix_nanos);
    nanos
        .filter(|nanos| nanos.is_multiple_of(NANOS_PER_MILLISECOND))
        .map(|nanos| nanos / NANOS_PER_MILLISECOND)
        .ok_or_else(|| refused(Reason::Malformed { expected: "a time of whole milliseconds since 1970" }))
}
