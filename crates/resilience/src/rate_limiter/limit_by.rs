use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Who shares one quota.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LimitBy {
    /// All callers together.
    #[default]
    All,
    /// Callers from one network address.
    ClientAddress,
    /// Callers that send the same value in this header; those that send none share one quota.
    Header(String),
}

impl LimitBy {
    /// Whether a caller can have such a value.
    pub(super) fn tells_apart(&self, value: &str) -> bool {
        match self {
            Self::ClientAddress => value.parse::<IpAddr>().is_ok(),
            Self::All | Self::Header(_) => true,
        }
    }

    /// Hashes the caller that files call `value` as [`RateLimiter::try_acquire`] hashes its key: an
    /// [`IpAddr`], a header's bytes as `Option<&[u8]>`, and otherwise the text.
    ///
    /// [`RateLimiter::try_acquire`]: super::RateLimiter::try_acquire
    pub(super) fn hash_value(&self, value: &str, hasher: &mut impl Hasher) {
        match self {
            Self::All => value.hash(hasher),
            Self::ClientAddress => match value.parse::<IpAddr>() {
                Ok(address) => address.hash(hasher),
                Err(_) => unreachable!("`tells_apart` refused it"),
            },
            Self::Header(_) => Some(value.as_bytes()).hash(hasher),
        }
    }
}

impl FromStr for LimitBy {
    type Err = ParseLimitByError;

    fn from_str(text: &str) -> Result<Self, ParseLimitByError> {
        match (text, text.strip_prefix("header:")) {
            ("all", _) => Ok(Self::All),
            ("client_address", _) => Ok(Self::ClientAddress),
            (_, Some(name)) if !name.is_empty() => Ok(Self::Header(name.to_ascii_lowercase())),
            _ => Err(ParseLimitByError { text: text.to_owned() }),
        }
    }
}

/// The text tells no callers apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseLimitByError {
    text: String,
}

impl fmt::Display for ParseLimitByError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text;
        write!(f, "`{text}` tells no callers apart; use \"all\", \"client_address\" or \"header:NAME\"")
    }
}

impl std::error::Error for ParseLimitByError {}

impl fmt::Display for LimitBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::ClientAddress => f.write_str("client_address"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

impl Serialize for LimitBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LimitBy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for LimitBy {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LimitBy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(all|client_address|header:.+)$" })
    }
}
