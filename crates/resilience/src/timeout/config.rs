use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::config::{Invalid, Presets, preset_schema};
use intertie_core::over_presets;
use intertie_core::quantity::{self, DurationText};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// How long an operation may take, and what becomes of it then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(rename = "Timeout", transform = preset_schema)]
pub struct TimeoutConfig {
    /// Where the `limit` comes from that a file leaves out: `api_call`, `external_call`, `database_query`,
    /// `analytics` or `upload`. Unset: `limit` must be given.
    #[serde(default, deserialize_with = "named")]
    #[schemars(with = "TimeoutPreset")]
    pub preset: Option<TimeoutPreset>,
    /// How long the operation may take. Above zero. An outer timeout can shorten it.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub limit: Duration,
    /// What becomes of an operation that reaches `limit`. Default `drop`.
    #[serde(default)]
    pub late: Late,
    /// The longest time that a late operation goes on, after `limit`: with `cooperate` its caller waits for
    /// it, with `detach` it does not. Default "0s", which is what `drop` needs; the others need more.
    #[serde(default, with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub grace: Duration,
    /// With `detach`: late operations that go on at the same time. One more is dropped. Default 100.
    #[serde(default = "detached_max")]
    pub detached_max: NonZeroU32,
}

/// The limits that the requirement documents name. All drop a late operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutPreset {
    /// 30 s: a call of one of our own interfaces (S4).
    ApiCall,
    /// 15 s: a call of somebody else's service (S4).
    ExternalCall,
    /// 10 s: a database query in the course of a call (S4).
    DatabaseQuery,
    /// 5 min: an analytical query (S4).
    Analytics,
    /// 5 min: the upload of a large file (S4).
    Upload,
}

/// What becomes of an operation that reaches its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Late {
    /// It is dropped.
    #[default]
    Drop,
    /// It is told, and has `grace` to end by itself; then it is dropped.
    Cooperate,
    /// It goes on for at most `grace`, without its caller; then it is dropped.
    Detach,
}

/// A preset's name, where nothing is no name.
fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TimeoutPreset>, D::Error> {
    TimeoutPreset::deserialize(deserializer).map(Some)
}

fn detached_max() -> NonZeroU32 {
    NonZeroU32::new(100).expect("100 is not zero")
}

impl TimeoutConfig {
    /// An operation that takes longer than `limit` is dropped.
    pub fn new(limit: Duration) -> Self {
        Self { preset: None, limit, late: Late::Drop, grace: Duration::ZERO, detached_max: detached_max() }
    }

    /// [`TimeoutPreset::ApiCall`].
    pub fn api_call() -> Self {
        Self::preset(TimeoutPreset::ApiCall)
    }

    /// [`TimeoutPreset::ExternalCall`].
    pub fn external_call() -> Self {
        Self::preset(TimeoutPreset::ExternalCall)
    }

    /// [`TimeoutPreset::DatabaseQuery`].
    pub fn database_query() -> Self {
        Self::preset(TimeoutPreset::DatabaseQuery)
    }

    /// [`TimeoutPreset::Analytics`].
    pub fn analytics() -> Self {
        Self::preset(TimeoutPreset::Analytics)
    }

    /// [`TimeoutPreset::Upload`].
    pub fn upload() -> Self {
        Self::preset(TimeoutPreset::Upload)
    }

    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// Names the first setting that can not, with its value and the limit.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.limit.is_zero() {
            return Err(Invalid::new("limit", "0s leaves no operation any time; write more"));
        }
        match self.late {
            Late::Drop if !self.grace.is_zero() => {
                let grace = quantity::format_duration(self.grace);
                Err(Invalid::new("grace", format!("{grace} has no effect with late = \"drop\"")))
            }
            Late::Cooperate | Late::Detach if self.grace.is_zero() => Err(Invalid::new(
                "grace",
                "0s leaves a late operation no time; write more, or late = \"drop\"",
            )),
            _ => Ok(()),
        }
    }
}

impl Presets for TimeoutConfig {
    type Name = TimeoutPreset;

    fn preset(name: TimeoutPreset) -> Self {
        let seconds = match name {
            TimeoutPreset::ApiCall => 30,
            TimeoutPreset::ExternalCall => 15,
            TimeoutPreset::DatabaseQuery => 10,
            TimeoutPreset::Analytics | TimeoutPreset::Upload => 5 * 60,
        };
        Self { preset: Some(name), ..Self::new(Duration::from_secs(seconds)) }
    }

    fn unnamed() -> Option<Self> {
        None
    }
}

over_presets!(TimeoutConfig);
