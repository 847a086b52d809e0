use std::fmt;
use std::marker::PhantomData;

use schemars::Schema;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess};
use serde::ser::{Error as _, Serialize};
use serde_json::{Map, Value};

/// Options with named starting points, one of which is their own field `preset`.
///
/// Files write a preset's name, or a table in which any option may be left out: what it leaves out, the
/// preset says. The options are documented and parsed in one place, the struct itself, which derives its form
/// in files and has it read over a preset by [`over_presets!`](crate::over_presets).
pub trait Presets: DeserializeWhole + Serialize {
    /// An enum of the presets' names.
    type Name: de::DeserializeOwned;
    /// Options of which a table that sets one replaces them all: none of them is then the preset's.
    const ALTERNATIVES: &'static [&'static str] = &[];

    /// The options of a preset.
    fn preset(name: Self::Name) -> Self;

    /// Where a table starts that names no preset. Without such a start it must give every option itself that has
    /// no default.
    fn unnamed() -> Option<Self>;
}

/// Options as their struct's own `Deserialize` would read them if it knew no presets.
pub trait DeserializeWhole: Sized {
    /// Reads options of which none is left out, except those that have a default.
    ///
    /// # Errors
    /// When a key is unknown, or a value is missing or of the wrong type.
    fn deserialize_whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// Implements `Deserialize` by [`deserialize_preset`](crate::config::deserialize_preset), and `Serialize`, for a
/// struct with [`Presets`](crate::config::Presets) that derives both with
/// `#[serde(remote = "Self", deny_unknown_fields)]`: so derived, they are functions of the struct itself, and
/// the traits are left to this.
#[macro_export]
macro_rules! over_presets {
    ($options:ty) => {
        impl $crate::config::DeserializeWhole for $options {
            fn deserialize_whole<'de, D: ::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::std::result::Result<Self, D::Error> {
                Self::deserialize(deserializer)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $options {
            fn deserialize<D: ::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::std::result::Result<Self, D::Error> {
                $crate::config::deserialize_preset(deserializer)
            }
        }

        impl ::serde::Serialize for $options {
            fn serialize<S: ::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::std::result::Result<S::Ok, S::Error> {
                Self::serialize(self, serializer)
            }
        }
    };
}

/// Reads `"standard"` or `{ preset = "standard", … }`.
///
/// # Errors
/// When the name is no preset's, or the table has an unknown key or a value of the wrong type. The error is
/// made by the given deserializer, so that it knows the place of what is wrong.
pub fn deserialize_preset<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Presets,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(PresetOrTable(PhantomData))
}

struct PresetOrTable<T>(PhantomData<T>);

impl<'de, T: Presets> de::Visitor<'de> for PresetOrTable<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a preset, or a table of options")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<T, E> {
        T::Name::deserialize(StrDeserializer::new(name)).map(T::preset)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        let over_preset =
            OverPreset { map, given: Vec::new(), preset: T::unnamed(), rest: None, value: None };
        T::deserialize_whole(MapAccessDeserializer::new(over_preset))
    }
}

/// A table's own entries, then those of its preset that it leaves out.
struct OverPreset<A, T> {
    map: A,
    /// The table's own keys, as far as they were read.
    given: Vec<String>,
    preset: Option<T>,
    /// The preset's entries, once the table's own are read.
    rest: Option<serde_json::map::IntoIter>,
    /// The value of the entry of `rest` whose key was read last.
    value: Option<Value>,
}

impl<A, T: Presets> OverPreset<A, T> {
    fn left_out(&self) -> Result<Map<String, Value>, serde_json::Error> {
        let mut entries = match serde_json::to_value(&self.preset)? {
            Value::Null => Map::new(),
            Value::Object(entries) => entries,
            _ => return Err(serde_json::Error::custom("a preset is a struct of options")),
        };
        let is_given = |key: &str| self.given.iter().any(|given| given == key);
        let replaced = T::ALTERNATIVES.iter().any(|key| is_given(key));
        entries.retain(|key, value| {
            let is_replaced = replaced && T::ALTERNATIVES.contains(&key.as_str());
            !value.is_null() && !is_given(key) && !is_replaced
        });
        Ok(entries)
    }
}

impl<'de, A: MapAccess<'de>, T: Presets> MapAccess<'de> for OverPreset<A, T> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let mut seed = Some(seed);
        if self.rest.is_none() {
            let note = |key| self.given.push(key);
            if let Some(key) = self.map.next_key_seed(NotedText { note, seed: &mut seed })? {
                return Ok(Some(key));
            }
            let entries = self.left_out().map_err(de::Error::custom)?;
            self.rest = Some(entries.into_iter());
        }
        let (Some((key, value)), Some(seed)) = (self.rest.as_mut().and_then(Iterator::next), seed) else {
            return Ok(None);
        };
        self.value = Some(value);
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        if let Some(value) = self.value.take() {
            return seed.deserialize(value).map_err(de::Error::custom);
        }
        if self.given.last().is_none_or(|key| key != "preset") {
            return self.map.next_value_seed(seed);
        }
        let mut name = String::new();
        let value =
            self.map.next_value_seed(NotedText { note: |text| name = text, seed: &mut Some(seed) })?;
        let name = T::Name::deserialize(StrDeserializer::new(&name))?;
        self.preset = Some(T::preset(name));
        Ok(value)
    }
}

/// Reads a text, hands it on, and notes it when it was understood.
struct NotedText<'a, N, S> {
    note: N,
    /// Still there when there was nothing to read.
    seed: &'a mut Option<S>,
}

impl<'de, N: FnOnce(String), S: DeserializeSeed<'de>> DeserializeSeed<'de> for NotedText<'_, N, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let text = String::deserialize(deserializer)?;
        let seed = self.seed.take().expect("a text is read once");
        let value = seed.deserialize(text.as_str().into_deserializer())?;
        (self.note)(text);
        Ok(value)
    }
}

/// Turns the JSON Schema of the struct into that of what [`deserialize_preset`] reads; for
/// `#[schemars(transform = preset_schema)]`.
pub fn preset_schema(schema: &mut Schema) {
    schema.remove("required");
    let name = schema.pointer("/properties/preset").cloned();
    let table = std::mem::take(schema).to_value();
    schema.insert("anyOf".to_owned(), name.into_iter().chain([table]).collect());
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Name {
        Small,
        Large,
    }

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    #[serde(remote = "Self", deny_unknown_fields)]
    #[schemars(transform = preset_schema)]
    struct Options {
        /// Where it starts.
        preset: Name,
        /// How large.
        size: u32,
        red: Option<u32>,
        blue: Option<u32>,
    }

    impl Presets for Options {
        type Name = Name;
        const ALTERNATIVES: &'static [&'static str] = &["red", "blue"];

        fn preset(name: Name) -> Self {
            match name {
                Name::Small => Self { preset: name, size: 1, red: Some(2), blue: None },
                Name::Large => Self { preset: name, size: 10, red: None, blue: Some(20) },
            }
        }

        fn unnamed() -> Option<Self> {
            Some(Self::preset(Name::Small))
        }
    }

    over_presets!(Options);

    fn read(text: &str) -> Result<Options, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// All sequences of distinct elements.
    fn sequences<'a>(of: &[&'a str]) -> Vec<Vec<&'a str>> {
        let mut all = vec![Vec::new()];
        for (position, first) in of.iter().enumerate() {
            let others = [&of[..position], &of[position + 1..]].concat();
            all.extend(sequences(&others).into_iter().map(|rest| [&[*first], &rest[..]].concat()));
        }
        all
    }

    #[test]
    fn a_table_takes_from_its_preset_what_it_leaves_out_whatever_the_order() {
        for entries in sequences(&[r#""preset": "large""#, r#""size": 5"#, r#""red": 6"#, r#""blue": 7"#]) {
            let has = |key: &str| entries.iter().any(|entry| entry.starts_with(&format!("\"{key}\"")));
            let start = Options::preset(if has("preset") { Name::Large } else { Name::Small });
            let own_colour = has("red") || has("blue");
            let expected = Options {
                preset: start.preset,
                size: if has("size") { 5 } else { start.size },
                red: if own_colour { has("red").then_some(6) } else { start.red },
                blue: if own_colour { has("blue").then_some(7) } else { start.blue },
            };
            let text = format!("{{ {} }}", entries.join(", "));
            assert_eq!(read(&text).expect(&text), expected, "{text}");
        }
        assert_eq!(read("\"large\"").expect("a preset"), Options::preset(Name::Large));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, message) in [
            ("\"medium\"", "unknown variant `medium`, expected `small` or `large` at line 1 column 8"),
            (
                "{\n\"sise\": 1 }",
                "unknown field `sise`, expected one of `preset`, `size`, `red`, `blue` at line 2 column 6",
            ),
            (
                "{\n\"preset\": \"medium\",\n\"size\": 1 }",
                "unknown variant `medium`, expected `small` or `large` at line 2 column 18",
            ),
            ("{\n\"size\": \"1\" }", "invalid type: string \"1\", expected u32 at line 2 column 11"),
            ("{ \"size\": 1, \"size\": 2 }", "duplicate field `size` at line 1 column 19"),
            (
                "7",
                "invalid type: integer `7`, expected the name of a preset, or a table of options at line 1 column 1",
            ),
        ] {
            assert_eq!(read(text).expect_err(text).to_string(), message, "{text}");
        }
    }

    #[test]
    fn the_schema_allows_a_name_or_a_table_that_requires_nothing() {
        let schema = schemars::schema_for!(Options).to_value();
        let [name, table] = schema["anyOf"].as_array().expect("two forms").as_slice() else {
            panic!("{schema}");
        };
        assert_eq!(name["$ref"], "#/$defs/Name");
        assert_eq!(table["properties"]["size"]["description"], "How large.");
        assert_eq!((table.get("required"), &table["additionalProperties"]), (None, &false.into()));
    }
}
