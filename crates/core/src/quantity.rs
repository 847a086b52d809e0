//! Quantities as configuration files spell them: text with a unit, never a bare number.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest duration a file may name. Longer ones are mistakes, and nanoseconds stay far from overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The text was not a quantity of the expected kind. Displays what was wrong and an example of what is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseQuantityError(String);

impl fmt::Display for ParseQuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseQuantityError {}

/// Reads a duration such as `"250ms"`, `"30s"` or `"1h 30min"`, at most [`DURATION_MAX`].
///
/// # Errors
/// When `text` has no unit, is negative, or is longer than a year.
pub fn parse_duration(text: &str) -> Result<Duration, ParseQuantityError> {
    match humantime::parse_duration(text.trim()) {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        Ok(_) => {
            Err(ParseQuantityError(format!("`{text}` is longer than a year, the longest duration allowed")))
        }
        Err(_) => Err(ParseQuantityError(format!(
            "`{text}` is no duration; write a number and a unit, such as \"250ms\", \"30s\" or \"5min\""
        ))),
    }
}

/// `duration` as a file would spell it.
pub fn format_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// For `#[serde(with = "quantity::duration")]`: a [`Duration`] that files write as `"30s"`.
pub mod duration {
    use super::{Deserializer, Duration, Serializer, Text, parse_duration};

    /// Writes `"30s"`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_duration(*duration))
    }

    /// Reads `"30s"`.
    ///
    /// # Errors
    /// When the value is no text, or the text no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        deserializer
            .deserialize_str(Text { expected: "a duration as text, such as \"30s\"", parse: parse_duration })
    }

    /// The same for an optional duration; use with `#[serde(default)]`.
    pub mod option {
        use super::{Deserializer, Duration, Serializer};

        /// Writes `"30s"` or nothing.
        ///
        /// # Errors
        /// Those of the serializer.
        pub fn serialize<S: Serializer>(
            duration: &Option<Duration>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match duration {
                Some(duration) => super::serialize(duration, serializer),
                None => serializer.serialize_none(),
            }
        }

        /// Reads `"30s"`.
        ///
        /// # Errors
        /// When the value is no text, or the text no duration.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            super::deserialize(deserializer).map(Some)
        }
    }

    /// The same for a list of durations.
    pub mod list {
        use serde::{Deserialize, Serialize};

        use super::{Deserializer, Duration, Serializer};

        #[derive(Serialize, Deserialize)]
        #[serde(transparent)]
        struct Item(#[serde(with = "super")] Duration);

        /// Writes `["100ms", "1s"]`.
        ///
        /// # Errors
        /// Those of the serializer.
        pub fn serialize<S: Serializer>(durations: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(durations.iter().copied().map(Item))
        }

        /// Reads `["100ms", "1s"]`.
        ///
        /// # Errors
        /// When the value is no list, or one of its items no duration as text.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
            let items = Vec::<Item>::deserialize(deserializer)?;
            Ok(items.into_iter().map(|Item(duration)| duration).collect())
        }
    }
}

/// A visitor that reads text through a parser.
struct Text<T> {
    expected: &'static str,
    parse: fn(&str) -> Result<T, ParseQuantityError>,
}

impl<T> de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
}

/// The JSON Schema of a duration as text; for `#[schemars(with = "DurationText")]`.
#[derive(Debug)]
pub struct DurationText;

impl JsonSchema for DurationText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["250ms", "30s", "5min"] })
    }
}

/// Implements what a quantity needs to stand in a file: text in, text out, its schema.
macro_rules! quantity_text {
    ($name:ident, $expected:literal, $example:literal) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text { expected: $expected, parse: $name::from_str })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "examples": [$example] })
            }
        }
    };
}

/// A share between 0 and 1, exact to a millionth; files write `"20%"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio {
    millionths: u32,
}

impl Ratio {
    /// Nothing.
    pub const ZERO: Self = Self { millionths: 0 };
    /// Everything.
    pub const ONE: Self = Self { millionths: 1_000_000 };

    /// `percent` hundredths, capped at 100.
    pub const fn from_percent(percent: u32) -> Self {
        Self { millionths: if percent >= 100 { 1_000_000 } else { percent * 10_000 } }
    }

    /// `millionths` millionths, capped at a million.
    pub const fn from_millionths(millionths: u32) -> Self {
        Self { millionths: if millionths > 1_000_000 { 1_000_000 } else { millionths } }
    }

    /// The share as a number between 0 and 1.
    pub fn as_f64(self) -> f64 {
        f64::from(self.millionths) / 1e6
    }

    /// This share of `amount`, rounded down.
    pub fn of(self, amount: u64) -> u64 {
        let share = u128::from(amount) * u128::from(self.millionths) / 1_000_000;
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// Whether `part` of `whole` is at least this share. An empty whole is no share of anything.
    pub fn is_reached_by(self, part: u64, whole: u64) -> bool {
        whole > 0 && u128::from(part) * 1_000_000 >= u128::from(whole) * u128::from(self.millionths)
    }
}

impl FromStr for Ratio {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let percent = text.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        match percent {
            Some(percent) if (0.0..=100.0).contains(&percent) => {
                Ok(Self { millionths: (percent * 10_000.0).round() as u32 })
            }
            Some(_) => Err(ParseQuantityError(format!("`{text}` is outside 0% to 100%"))),
            None => Err(ParseQuantityError(format!("`{text}` is no percentage; write it as \"20%\""))),
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.millionths) / 10_000.0)
    }
}

quantity_text!(Ratio, "a percentage as text, such as \"20%\"", "20%");

/// An amount per period; files write `"100/s"`, `"5/min"` or `"10/250ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    amount: u64,
    period: Duration,
}

impl Rate {
    /// `amount` per `period`.
    ///
    /// # Errors
    /// When either is zero, or the rate is above one per nanosecond, the resolution of the clock.
    pub fn new(amount: u64, period: Duration) -> Result<Self, ParseQuantityError> {
        if amount == 0 || period.is_zero() {
            return Err(ParseQuantityError("a rate needs an amount and a period above zero".to_owned()));
        }
        if u128::from(amount) > period.as_nanos() {
            return Err(ParseQuantityError("a rate above one per nanosecond can not be measured".to_owned()));
        }
        Ok(Self { amount, period })
    }

    /// The amount admitted in each [`Rate::period`].
    pub fn amount(self) -> u64 {
        self.amount
    }

    /// The period that [`Rate::amount`] refers to.
    pub fn period(self) -> Duration {
        self.period
    }
}

impl FromStr for Rate {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || {
            ParseQuantityError(format!(
                "`{text}` is no rate; write an amount per unit, such as \"100/s\" or \"5/min\""
            ))
        };
        let (amount, period) = text.trim().split_once('/').ok_or_else(malformed)?;
        let amount = amount.trim().replace('_', "").parse().map_err(|_| malformed())?;
        let period = match period.trim() {
            unit if unit.starts_with(|c: char| c.is_ascii_digit()) => parse_duration(unit),
            unit => parse_duration(&format!("1{unit}")),
        };
        Self::new(amount, period.map_err(|_| malformed())?)
            .map_err(|error| ParseQuantityError(format!("`{text}` is no rate: {error}")))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = format_duration(self.period);
        let unit = match period.strip_prefix('1') {
            Some(unit) if unit.starts_with(|c: char| c.is_ascii_alphabetic()) => unit,
            _ => &period,
        };
        write!(f, "{}/{unit}", self.amount)
    }
}

quantity_text!(Rate, "a rate as text, such as \"100/s\"", "100/s");

/// A number of bytes; files write `"64KiB"`, `"1MiB"` or `"512B"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    const UNITS: [(&'static str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

    /// `bytes` bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        Self::UNITS
            .iter()
            .find_map(|(unit, bytes)| Some((trimmed.strip_suffix(unit)?, bytes)))
            .and_then(|(number, bytes)| number.trim().parse::<u64>().ok()?.checked_mul(*bytes))
            .map(Self)
            .ok_or_else(|| {
                ParseQuantityError(format!(
                    "`{text}` is no size; write a number and a unit, such as \"64KiB\" or \"1MiB\""
                ))
            })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = Self::UNITS.iter().find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        let (unit, bytes) = whole.unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / bytes)
    }
}

quantity_text!(ByteSize, "a size as text, such as \"64KiB\"", "64KiB");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_round_trip_as_text() {
        for text in ["100/s", "5/m", "10/250ms", "1/h"] {
            assert_eq!(text.parse::<Rate>().expect(text).to_string(), text);
        }
        for text in ["20%", "0.5%", "100%", "0%"] {
            assert_eq!(text.parse::<Ratio>().expect(text).to_string(), text);
        }
        for text in ["64KiB", "1MiB", "1000B", "0B"] {
            assert_eq!(text.parse::<ByteSize>().expect(text).to_string(), text);
        }
        assert_eq!(parse_duration("1h 30min"), Ok(Duration::from_secs(5400)));
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in ["0/s", "100", "x/s", "1/0s", "-1/s", "2000000000/s", "5/parsec"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        for text in ["20", "-1%", "101%", "NaN%", "inf%", "x%"] {
            assert!(text.parse::<Ratio>().is_err(), "{text}");
        }
        for text in ["64", "64kb", "-1B", "99999999999999GiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        for text in ["30", "-1s", "soon", "400days", ""] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        let message = parse_duration("30").expect_err("no unit").to_string();
        assert!(message.contains("\"30s\""), "{message}");
    }

    #[test]
    fn ratios_are_exact_at_their_boundary() {
        let half = Ratio::from_percent(50);
        assert!(half.is_reached_by(5, 10));
        assert!(!half.is_reached_by(4, 9));
        assert!(!half.is_reached_by(0, 0));
        assert_eq!(Ratio::from_percent(20).of(99), 19);
        assert_eq!(Ratio::ONE.of(u64::MAX), u64::MAX);
    }
}
