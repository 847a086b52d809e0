//! How a pattern's options are read: from a preset's name, or from a table that starts from a preset.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess};

/// A setting that can not work, found when options are turned into a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The option's key.
    pub field: &'static str,
    /// Why it can not work, with the value and the limit it violates.
    pub problem: String,
}

impl Invalid {
    /// `field` can not work because of `problem`.
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.field, self.problem)
    }
}

impl std::error::Error for Invalid {}

/// Options with named starting points.
///
/// `Table` is the form in which each option may be left out; turning it into `Self` fills the gaps from
/// the preset that it names.
pub trait Presets: Sized {
    /// The options as a table, each of them optional, `preset` among them.
    type Table: Into<Self>;
    /// The names of all presets.
    const NAMES: &'static [&'static str];

    /// The preset called `name`.
    fn preset(name: &str) -> Option<Self>;
}

/// Reads `"standard"` or `{ preset = "standard", … }`.
///
/// # Errors
/// When the name is no preset's, or the table has an unknown key or a value of the wrong type.
pub fn deserialize_preset<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Presets,
    T::Table: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(PresetOrTable(PhantomData))
}

struct PresetOrTable<T>(PhantomData<T>);

impl<'de, T> de::Visitor<'de> for PresetOrTable<T>
where
    T: Presets,
    T::Table: Deserialize<'de>,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a preset, or a table of options")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<T, E> {
        T::preset(name).ok_or_else(|| E::unknown_variant(name, T::NAMES))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::Table::deserialize(MapAccessDeserializer::new(map)).map(Into::into)
    }
}

/// The JSON Schema of what [`deserialize_preset`] reads.
pub fn preset_schema<T>(generator: &mut SchemaGenerator) -> Schema
where
    T: Presets,
    T::Table: JsonSchema,
{
    let table = generator.subschema_for::<T::Table>();
    json_schema!({ "anyOf": [{ "type": "string", "enum": T::NAMES }, table] })
}

/// A setting that can be switched off where it would be inherited; files write `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting<T> {
    /// Not in force, whatever stands further up the chain.
    Off,
    /// In force.
    On(T),
}

impl<T> Setting<T> {
    /// The value in force.
    pub fn as_ref(&self) -> Option<&T> {
        match self {
            Self::Off => None,
            Self::On(value) => Some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Setting<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OffOr<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for OffOr<T> {
            type Value = Setting<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"off\", a text, or a table")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if text == "off" {
                    return Ok(Setting::Off);
                }
                T::deserialize(de::value::StrDeserializer::new(text)).map(Setting::On)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Setting::On)
            }

            // The setting itself knows best what it expects instead of these.

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                T::deserialize(de::value::I64Deserializer::new(number)).map(Setting::On)
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
                T::deserialize(de::value::F64Deserializer::new(number)).map(Setting::On)
            }

            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Self::Value, E> {
                T::deserialize(de::value::BoolDeserializer::new(truth)).map(Setting::On)
            }
        }

        deserializer.deserialize_any(OffOr(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Setting<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Setting_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let on = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "const": "off" }, on] })
    }
}
