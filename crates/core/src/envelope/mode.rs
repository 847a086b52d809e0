use super::{EnvelopeError, Reason, batch, structured};

/// How a message carries events, by its `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One event, whole in the body: [`structured::read`].
    Structured,
    /// Several, whole in the body: [`batch::read`].
    Batch,
    /// Attributes in headers, data in the body: [`binary::read`](super::binary::read). It may be no event at all.
    Binary,
}

impl Mode {
    /// The mode of a message with this `Content-Type`.
    ///
    /// # Errors
    /// [`Reason::UnknownFormat`] for events in a format that is not JSON, such as `application/cloudevents+avro`.
    pub fn of(content_type: Option<&str>) -> Result<Self, EnvelopeError> {
        let Some(content_type) = content_type else { return Ok(Self::Binary) };
        let essence = content_type.split(';').next().unwrap_or_default().trim_ascii();
        if essence.eq_ignore_ascii_case(structured::CONTENT_TYPE) {
            return Ok(Self::Structured);
        }
        if essence.eq_ignore_ascii_case(batch::CONTENT_TYPE) {
            return Ok(Self::Batch);
        }
        const EVENTS: &str = "application/cloudevents";
        let events = essence.get(..EVENTS.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS));
        if events { Err(EnvelopeError::whole(Reason::UnknownFormat)) } else { Ok(Self::Binary) }
    }
}
