use serde::{Deserialize, Serialize};

use super::{Json, carrying, check_fields, payload, required, with};
use crate::envelope::{Envelope, EnvelopeError, Reason, Time, extensions};

const NAME: &str = "PublishedEvent";

/// An event of an aggregate, with what caused it and who published it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublishedEvent {
    /// The event's own id: `id`.
    pub event_id: String,
    /// What happened: `type`.
    pub event_type: String,
    /// The entity that it happened to: `subject`.
    pub aggregate_id: String,
    /// The kind of entity: the extension `aggregatetype`.
    pub aggregate_type: String,
    /// The version of the data: the extension `eventversion`.
    pub event_version: String,
    /// When it happened: `time`.
    pub occurred_at: Time,
    /// The command or event that caused it: the extension `causationid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// The flow that it belongs to: the extension `correlationid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// What is particular to the type: the data.
    pub data: Json,
    /// Who published it, and when.
    pub metadata: PublicationMetadata,
}

/// How a [`PublishedEvent`] was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublicationMetadata {
    /// The service, which must be a URI-reference: `source`.
    pub published_by: String,
    /// When: the extension `recordedtime`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<Time>,
    /// The version of this shape: the extension `schemaversion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
}

impl TryFrom<&PublishedEvent> for Envelope {
    type Error = EnvelopeError;

    fn try_from(event: &PublishedEvent) -> Result<Self, EnvelopeError> {
        let metadata = &event.metadata;
        let mut envelope = Self::new(&event.event_id, &metadata.published_by, &event.event_type)?
            .with_subject(&event.aggregate_id)?
            .with_time(event.occurred_at.clone())
            .with_aggregate_type(&event.aggregate_type)?
            .with_event_version(&event.event_version)?;
        envelope = with(envelope, Self::with_causation_id, event.causation_id.as_deref())?;
        envelope = with(envelope, Self::with_correlation_id, event.correlation_id.as_deref())?;
        envelope = with(envelope, Self::with_schema_version, metadata.schema_version.as_deref())?;
        if let Some(published_at) = &metadata.published_at {
            envelope = envelope.with_recorded_time(published_at.clone());
        }
        carrying(envelope, &event.data)
    }
}

impl TryFrom<&Envelope> for PublishedEvent {
    type Error = EnvelopeError;

    fn try_from(envelope: &Envelope) -> Result<Self, EnvelopeError> {
        use extensions::{
            AGGREGATE_TYPE, CAUSATION_ID, CORRELATION_ID, EVENT_VERSION, RECORDED_TIME, SCHEMA_VERSION,
        };

        const FIELDS: [&str; 7] = [
            "subject",
            AGGREGATE_TYPE,
            CAUSATION_ID,
            CORRELATION_ID,
            EVENT_VERSION,
            RECORDED_TIME,
            SCHEMA_VERSION,
        ];
        check_fields(envelope, NAME, &FIELDS)?;
        let time = envelope.time().cloned();
        Ok(Self {
            event_id: envelope.id().to_owned(),
            event_type: envelope.r#type().to_owned(),
            aggregate_id: required(envelope.subject(), "subject")?,
            aggregate_type: required(envelope.aggregate_type(), AGGREGATE_TYPE)?,
            event_version: required(envelope.event_version(), EVENT_VERSION)?,
            occurred_at: time.ok_or_else(|| EnvelopeError::new("time", Reason::Missing))?,
            causation_id: envelope.causation_id().map(Into::into),
            correlation_id: envelope.correlation_id().map(Into::into),
            data: payload(envelope)?,
            metadata: PublicationMetadata {
                published_by: envelope.source().to_owned(),
                published_at: envelope.recorded_time()?,
                schema_version: envelope.schema_version().map(Into::into),
            },
        })
    }
}
