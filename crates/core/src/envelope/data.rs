use bytes::Bytes;
use serde::de::IgnoredAny;

use super::{EnvelopeError, Reason};

/// What an event carries: bytes, and how the JSON format writes them. Clones share the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    bytes: Bytes,
    form: Form,
}

/// How the JSON format writes data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As the JSON that it is.
    Json,
    /// As a string of JSON.
    Text,
    /// In base64.
    Binary,
}

impl Data {
    /// The JSON document `bytes`, which stays as it is, byte for byte: order, spaces, digits and repeated keys too.
    ///
    /// # Errors
    /// When it is no JSON in UTF-8.
    pub fn json(bytes: impl Into<Bytes>) -> Result<Self, EnvelopeError> {
        let bytes = bytes.into();
        // A string that is ignored is not looked at as UTF-8.
        let text = std::str::from_utf8(&bytes).ok();
        match text.and_then(|text| serde_json::from_str::<IgnoredAny>(text).ok()) {
            Some(_) => Ok(Self::checked_json(bytes)),
            None => Err(EnvelopeError::new("data", Reason::Malformed { expected: "JSON" })),
        }
    }

    /// JSON that a parser has seen.
    pub(super) fn checked_json(bytes: Bytes) -> Self {
        Self { bytes, form: Form::Json }
    }

    /// Text, such as XML.
    pub fn text(text: impl Into<String>) -> Self {
        Self { bytes: text.into().into(), form: Form::Text }
    }

    /// Text when it is UTF-8, and bytes otherwise.
    pub(super) fn text_or_binary(bytes: Bytes) -> Self {
        let form = if std::str::from_utf8(&bytes).is_ok() { Form::Text } else { Form::Binary };
        Self { bytes, form }
    }

    /// Bytes of any kind.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), form: Form::Binary }
    }

    /// The bytes: the body of a message in binary mode.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How the JSON format writes them.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The text, when the form says that it is some.
    pub fn as_text(&self) -> Option<&str> {
        match self.form {
            Form::Binary => None,
            Form::Json | Form::Text => std::str::from_utf8(&self.bytes).ok(),
        }
    }
}
