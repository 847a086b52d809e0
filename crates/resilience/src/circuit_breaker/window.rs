use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use intertie_core::quantity::{self, ParseQuantityError};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What a window holds: the last time, or the last calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The calls that ended within this time, forgotten in tenths of it.
    Time(Duration),
    /// The last so many calls.
    Calls(NonZeroU32),
}

impl Window {
    /// The most calls that a count window holds: one byte each.
    pub const CALLS_MAX: u32 = 65_536;
}

impl FromStr for Window {
    type Err = ParseWindowError;

    fn from_str(text: &str) -> Result<Self, ParseWindowError> {
        match text.strip_suffix("calls") {
            Some(count) => {
                let count = count.trim().parse();
                count.map(Self::Calls).map_err(|_| ParseWindowError::Calls { text: text.to_owned() })
            }
            None => quantity::parse_duration(text).map(Self::Time).map_err(ParseWindowError::Time),
        }
    }
}

/// Why a text is no window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseWindowError {
    /// It speaks of calls, but of no count above zero.
    Calls {
        /// What was read.
        text: String,
    },
    /// It is no time either.
    Time(ParseQuantityError),
}

impl fmt::Display for ParseWindowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calls { text } => {
                write!(f, "`{text}` is no window; write a count above zero, such as \"100 calls\"")
            }
            Self::Time(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ParseWindowError {}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(length) => f.write_str(&quantity::format_duration(*length)),
            Self::Calls(calls) => write!(f, "{calls} calls"),
        }
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Window {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Window".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["60s", "100 calls"] })
    }
}
