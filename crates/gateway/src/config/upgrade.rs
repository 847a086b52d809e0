use std::borrow::Cow;
use std::fmt;

use intertie_core::token::is_token;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// A protocol that a client may switch to: `"websocket"`, or any other name that `Upgrade` may have.
///
/// Kept in lower case, in which it is compared (RFC 9110, section 7.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradeProtocol(String);

impl UpgradeProtocol {
    /// The protocol that most clients mean.
    pub(crate) fn websocket() -> Self {
        Self("websocket".to_owned())
    }

    /// Its name, in lower case.
    pub fn name(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Result<Self, ParseUpgradeError> {
        if !text.split('/').all(|part| is_token(part.as_bytes())) || text.split('/').count() > 2 {
            return Err(ParseUpgradeError::NoProtocol(text.to_owned()));
        }
        let name = text.to_ascii_lowercase();
        let family = name.split('/').next().unwrap_or_default();
        if ["h2c", "h2", "h3", "http", "https", "connect"].contains(&family) {
            return Err(ParseUpgradeError::Http(text.to_owned()));
        }
        Ok(Self(name))
    }
}

impl<'de> Deserialize<'de> for UpgradeProtocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for UpgradeProtocol {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "UpgradeProtocol".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["websocket"] })
    }
}

/// Why no client may switch to a protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ParseUpgradeError {
    /// It is not written as protocols are.
    NoProtocol(String),
    /// It is HTTP again.
    Http(String),
}

impl fmt::Display for ParseUpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProtocol(text) => {
                write!(f, "`{text}` is no protocol that a client can ask for; most ask for \"websocket\"")
            }
            Self::Http(text) => write!(
                f,
                "`{text}` is never let through: requests in such a tunnel would pass by routes and policies"
            ),
        }
    }
}

impl std::error::Error for ParseUpgradeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_in_lower_case_and_never_http() {
        for (text, name) in [("websocket", "websocket"), ("WebSocket", "websocket"), ("irc/6.9", "irc/6.9")] {
            assert_eq!(UpgradeProtocol::parse(text).as_ref().map(UpgradeProtocol::name), Ok(name));
        }
        for text in ["", "/", "a/", "/a", "a/b/c", "a b", "a,b", "a\"b", "ä"] {
            assert_eq!(UpgradeProtocol::parse(text), Err(ParseUpgradeError::NoProtocol(text.to_owned())));
        }
        for text in ["h2c", "H2C", "h2c/1", "HTTP/2.0", "http", "h2", "connect"] {
            assert_eq!(UpgradeProtocol::parse(text), Err(ParseUpgradeError::Http(text.to_owned())));
        }
    }
}
