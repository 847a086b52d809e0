use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Json, carrying, check_fields, payload, with};
use crate::envelope::{AttributeValue, Envelope, EnvelopeError, Reason, Time, extensions};

const NAME: &str = "MessageEnvelope";
/// The extension that holds the headers, as an object of JSON.
const HEADERS: &str = "headers";

/// The `type` of messages, which have none of their own.
pub const MESSAGE_TYPE: &str = "intertie.message";

/// A message of a queue, with headers and the queue on which an answer is awaited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MessageEnvelope {
    /// The message's own id: `id`.
    pub id: String,
    /// What it says: the data.
    pub payload: Json,
    /// When it was sent: `time`.
    pub timestamp: Time,
    /// Who sent it, which must be a URI-reference: `source`.
    pub source: String,
    /// What it belongs to, or answers: the extension `correlationid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The queue on which an answer is awaited: the extension `replyto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// What else its sender says: the extension `headers`, none when there are none.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

impl TryFrom<&MessageEnvelope> for Envelope {
    type Error = EnvelopeError;

    fn try_from(message: &MessageEnvelope) -> Result<Self, EnvelopeError> {
        let mut envelope =
            Self::new(&message.id, &message.source, MESSAGE_TYPE)?.with_time(message.timestamp.clone());
        envelope = with(envelope, Self::with_correlation_id, message.correlation_id.as_deref())?;
        envelope = with(envelope, Self::with_reply_to, message.reply_to.as_deref())?;
        if !message.headers.is_empty() {
            let headers = Json::of(&message.headers).expect("text by text is an object of JSON");
            envelope = envelope.with_extension(HEADERS, headers.in_ascii().text())?;
        }
        carrying(envelope, &message.payload)
    }
}

impl TryFrom<&Envelope> for MessageEnvelope {
    type Error = EnvelopeError;

    fn try_from(envelope: &Envelope) -> Result<Self, EnvelopeError> {
        use extensions::{CORRELATION_ID, REPLY_TO};

        check_fields(envelope, NAME, &[CORRELATION_ID, REPLY_TO, HEADERS])?;
        if envelope.r#type() != MESSAGE_TYPE {
            return Err(EnvelopeError::new("type", Reason::NoField { shape: NAME }));
        }
        let time = envelope.time().cloned();
        let headers = envelope.extension(HEADERS).map(AttributeValue::text);
        Ok(Self {
            id: envelope.id().to_owned(),
            payload: payload(envelope)?,
            timestamp: time.ok_or_else(|| EnvelopeError::new("time", Reason::Missing))?,
            source: envelope.source().to_owned(),
            correlation_id: envelope.correlation_id().map(Into::into),
            reply_to: envelope.reply_to().map(Into::into),
            headers: headers.map_or_else(|| Ok(BTreeMap::new()), |text| parse_headers(&text))?,
        })
    }
}

fn parse_headers(text: &str) -> Result<BTreeMap<String, String>, EnvelopeError> {
    let expected = "an object of JSON with text by text";
    serde_json::from_str(text).map_err(|_| EnvelopeError::new(HEADERS, Reason::Malformed { expected }))
}
