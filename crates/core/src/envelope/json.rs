//! The JSON of events, taken apart without a look at what the data holds.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::{EnvelopeError, Reason};

/// A member's name and its value, as it stands there.
pub(super) type Member<'a> = (Cow<'a, str>, &'a RawValue);

/// The members of the object `text`, in their order; `None` when they are more than `max`.
pub(super) fn members(text: &str, max: usize) -> Result<Option<Vec<Member<'_>>>, EnvelopeError> {
    read(text, Members { max }, "an object of JSON")
}

/// The elements of the array `text`; `None` when they are more than `max`.
pub(super) fn elements(text: &str, max: usize) -> Result<Option<Vec<&RawValue>>, EnvelopeError> {
    read(text, Elements { max }, "an array of JSON")
}

/// The string of JSON `text`, without a copy where nothing is escaped; `None` when it is no string of Unicode.
pub(super) fn string(text: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str(text).ok().map(|Text(text)| text)
}

/// Appends `text` as a string of JSON.
pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a vector takes all, and text is always a string of JSON");
}

fn read<'a, S: DeserializeSeed<'a>>(
    text: &'a str,
    seed: S,
    expected: &'static str,
) -> Result<S::Value, EnvelopeError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    read.map_err(|error| {
        EnvelopeError::whole(match error.classify() {
            Category::Data => Reason::WrongType { expected },
            Category::Syntax | Category::Eof | Category::Io => {
                Reason::Syntax { line: error.line(), column: error.column() }
            }
        })
    })
}

struct Members {
    max: usize,
}

impl<'de> DeserializeSeed<'de> for Members {
    type Value = Option<Vec<Member<'de>>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Option<Vec<Member<'de>>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(Text(name)) = map.next_key()? {
            if members.len() == self.max {
                map.next_value::<IgnoredAny>()?;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(None);
            }
            members.push((name, map.next_value()?));
        }
        Ok(Some(members))
    }
}

struct Elements {
    max: usize,
}

impl<'de> DeserializeSeed<'de> for Elements {
    type Value = Option<Vec<&'de RawValue>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            if elements.len() == self.max {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(None);
            }
            elements.push(element);
        }
        Ok(Some(elements))
    }
}

/// A string, borrowed where nothing in it is escaped: serde's own `Cow` never borrows.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}
