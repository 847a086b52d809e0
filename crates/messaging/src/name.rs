use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The name of a queue, a topic, a group or a consumer; cheap to clone.
///
/// 1 to [`Name::BYTES_MAX`] letters, digits, `.`, `_` and `-` of ASCII, of which the first is a letter or a digit.
/// Every engine can write it down, though some under an escaped form; capitals tell names apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why some text is no [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidName {
    /// It has no character.
    Empty,
    /// It has more than [`Name::BYTES_MAX`] bytes.
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// A character that no name has there.
    Character {
        /// The character.
        character: char,
        /// The byte at which it stands.
        at: usize,
    },
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a name has at least one character"),
            Self::TooLong { bytes } => {
                write!(f, "a name has at most {} bytes, not {bytes}", Name::BYTES_MAX)
            }
            Self::Character { character, at: 0 } => {
                write!(f, "a name begins with a letter or a digit of ASCII, not with {character:?}")
            }
            Self::Character { character, at } => {
                write!(
                    f,
                    "a name has letters, digits, `.`, `_` and `-` of ASCII, not {character:?} as at byte {at}"
                )
            }
        }
    }
}

impl std::error::Error for InvalidName {}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.len() > Self::BYTES_MAX {
            return Err(InvalidName::TooLong { bytes: text.len() });
        }
        let is_allowed = |at: usize, character: char| {
            character.is_ascii_alphanumeric() || (at > 0 && matches!(character, '.' | '_' | '-'))
        };
        match text.char_indices().find(|(at, character)| !is_allowed(*at, *character)) {
            Some((at, character)) => Err(InvalidName::Character { character, at }),
            None => Ok(Self(text.into())),
        }
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Name {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$",
            "maxLength": Self::BYTES_MAX,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_every_engine_can_write_down() {
        for good in ["orders", "Order.Created", "a", "7-up", "x_y", &"n".repeat(128)] {
            assert_eq!(good.parse::<Name>().expect(good).as_str(), good);
        }
        for (bad, why) in [
            ("", InvalidName::Empty),
            (&"n".repeat(129), InvalidName::TooLong { bytes: 129 }),
            (".hidden", InvalidName::Character { character: '.', at: 0 }),
            ("a b", InvalidName::Character { character: ' ', at: 1 }),
            ("orders/*", InvalidName::Character { character: '/', at: 6 }),
            ("größe", InvalidName::Character { character: 'ö', at: 2 }),
            ("a\0", InvalidName::Character { character: '\0', at: 1 }),
        ] {
            assert_eq!(bad.parse::<Name>(), Err(why), "{bad:?}");
        }
    }
}
