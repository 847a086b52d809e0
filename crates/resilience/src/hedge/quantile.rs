use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use intertie_core::config::Invalid;
use intertie_core::quantity::Ratio;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The share of calls that were at most so slow; files write `"p95"` or `"p99.9"`. At least p50: who hedges
/// more than half of its calls doubles its load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantile(Ratio);

impl Quantile {
    /// 95 of 100 calls.
    pub const P95: Self = Self(Ratio::from_percent(95));
    /// 99 of 100 calls.
    pub const P99: Self = Self(Ratio::from_percent(99));

    /// The rank of this quantile among `samples` sorted ones, counted from 1: the smallest that at least this
    /// share of them does not exceed.
    pub fn rank(self, samples: u64) -> u64 {
        samples - Ratio::from_millionths(1_000_000 - self.millionths()).of(samples)
    }

    fn millionths(self) -> u32 {
        u32::try_from(self.0.of(1_000_000)).expect("a share of a million")
    }
}

impl FromStr for Quantile {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let percent = text.trim().strip_prefix('p').map(|number| format!("{number}%"));
        let ratio = percent.and_then(|percent| percent.parse::<Ratio>().ok());
        match ratio {
            Some(ratio) if (Ratio::from_percent(50)..Ratio::ONE).contains(&ratio) => Ok(Self(ratio)),
            Some(_) => Err(Invalid::new("quantile", format!("`{text}` is outside p50 to p99.9999"))),
            None => {
                let problem = format!("`{text}` is no quantile; write it as \"p95\" or \"p99.9\"");
                Err(Invalid::new("quantile", problem))
            }
        }
    }
}

impl fmt::Display for Quantile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", f64::from(self.millionths()) / 10_000.0)
    }
}

impl Serialize for Quantile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|invalid: Invalid| de::Error::custom(invalid.problem))
    }
}

impl JsonSchema for Quantile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantile".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["p95", "p99.9"] })
    }
}
