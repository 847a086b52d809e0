use std::borrow::Cow;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;

use intertie_core::config::Invalid;
use intertie_core::quantity::Rate;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How many calls are admitted per time, and for whom they are counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimiterConfig {
    /// The rate that is admitted in the long run, such as "100/s".
    pub limit: Rate,
    /// Calls that a token bucket admits at once after a pause. Default: the amount of `limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<NonZeroU64>,
    /// `token_bucket` (the default) or `sliding_window`.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// Who shares one quota: `all` (the default), each `client_address`, or each value of `header:NAME`.
    #[serde(default)]
    pub by: LimitBy,
    /// What is counted: `calls` (the default) as they come in, or `attempts` as they go out, retries
    /// included, for providers that bill each of them.
    #[serde(default)]
    pub count: Count,
    /// Callers that are remembered at the same time, at most 24 bytes and some hashing overhead each. Those
    /// beyond share one quota. Default 100,000.
    #[serde(default = "keys_max_default")]
    pub keys_max: NonZeroU32,
}

/// How the rate is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// A bucket of `burst` tokens that refills at the rate.
    #[default]
    TokenBucket,
    /// At most the rate's amount in any window of its period.
    SlidingWindow,
}

/// What a limiter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    /// Calls as they come in.
    #[default]
    Calls,
    /// Attempts as they go out.
    Attempts,
}

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

fn keys_max_default() -> NonZeroU32 {
    NonZeroU32::new(100_000).expect("100,000 is not zero")
}

impl RateLimiterConfig {
    /// A token bucket for all callers together.
    pub fn new(limit: Rate) -> Self {
        Self {
            limit,
            burst: None,
            algorithm: Algorithm::TokenBucket,
            by: LimitBy::All,
            count: Count::Calls,
            keys_max: keys_max_default(),
        }
    }

    /// The most that is admitted at once.
    pub fn capacity(&self) -> u64 {
        self.burst.map_or(self.limit.amount(), NonZeroU64::get)
    }

    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// Names the first setting that can not, with its value and the limit.
    pub fn validate(&self) -> Result<(), Invalid> {
        let interval = self.limit.period().as_nanos() / u128::from(self.limit.amount());
        if interval * u128::from(self.capacity()) > u128::from(u32::MAX) * 1_000_000_000 {
            return Err(Invalid::new(
                "burst",
                format!("a bucket of {} would take more than a century to refill", self.capacity()),
            ));
        }
        if self.algorithm == Algorithm::SlidingWindow {
            if self.burst.is_some() {
                return Err(Invalid::new(
                    "burst",
                    "a sliding_window has no burst; leave it out or use algorithm = \"token_bucket\"",
                ));
            }
            if self.limit.amount() > u64::from(u32::MAX) {
                return Err(Invalid::new("limit", "a sliding_window counts to 4,294,967,295 at most"));
            }
        }
        Ok(())
    }
}

impl FromStr for LimitBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("header:")) {
            ("all", _) => Ok(Self::All),
            ("client_address", _) => Ok(Self::ClientAddress),
            (_, Some(name)) if !name.is_empty() => Ok(Self::Header(name.to_ascii_lowercase())),
            _ => Err(format!(
                "`{text}` tells no callers apart; use \"all\", \"client_address\" or \"header:NAME\""
            )),
        }
    }
}

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
