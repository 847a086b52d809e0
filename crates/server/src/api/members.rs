//! The parts of a body of JSON that requests have, in bounds while they are read: what no request has is read past.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The most members of one object; no request has as many.
const MEMBERS_MAX: usize = 64;

/// The members of an object. A list or an object in the place of one is there, and empty: no member is one.
#[derive(Debug)]
pub(super) struct Members(pub(super) Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfObject)
    }
}

struct OfObject;

impl<'de> Visitor<'de> for OfObject {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Map::new();
        while let Some((name, raw)) = map.next_entry::<String, &RawValue>()? {
            if members.len() == MEMBERS_MAX {
                return Err(A::Error::custom(format!("an object has more than {MEMBERS_MAX} members")));
            }
            let value = match raw.get().as_bytes().first() {
                Some(b'{') => Value::Object(Map::new()),
                Some(b'[') => Value::Array(Vec::new()),
                _ => serde_json::from_str(raw.get()).map_err(A::Error::custom)?,
            };
            members.insert(name, value);
        }
        Ok(Members(members))
    }
}

/// The elements of an array.
#[derive(Debug)]
pub(super) struct Elements<'a> {
    /// No more of them than were asked for.
    pub(super) first: Vec<&'a RawValue>,
    pub(super) count: usize,
}

/// Reads the elements of an array and keeps no more than these.
#[derive(Debug)]
pub(super) struct First(pub(super) usize);

impl<'de> DeserializeSeed<'de> for First {
    type Value = Elements<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Elements<'de>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for First {
    type Value = Elements<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Elements<'de>, A::Error> {
        let mut first = Vec::new();
        while first.len() < self.0 {
            match elements.next_element()? {
                Some(element) => first.push(element),
                None => break,
            }
        }
        let mut count = first.len();
        while elements.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Elements { first, count })
    }
}
