use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use intertie_core::config::{Invalid, Presets, deserialize_preset, preset_schema};
use intertie_core::quantity::{self, DurationText, Ratio};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::striped::StripedWindow;

/// When a circuit breaker opens, how long it stays open, and what closes it.
///
/// It opens as soon as one of the conditions that are set holds: `failures`, `failure_rate`,
/// `slow_call_rate`, or `consecutive_failures`. The first three look at the calls in `window` and wait until
/// it holds `minimum_calls` of them. Only the outcome that a condition counts can open it: a failure, or a
/// slow call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CircuitBreakerConfig {
    /// The preset from which the other values came.
    pub preset: CircuitBreakerPreset,
    /// The calls that `failures` and `failure_rate` look at: `"60s"` or `"100 calls"`.
    pub window: Window,
    /// Opens at this many failures in the window. Unset: no such condition.
    pub failures: Option<NonZeroU32>,
    /// Opens when this share of the calls in the window failed. Unset: no such condition.
    pub failure_rate: Option<Ratio>,
    /// A call that took at least this long is slow, whatever its outcome. Goes with `slow_call_rate`.
    #[serde(with = "quantity::duration::option")]
    pub slow_call_duration: Option<Duration>,
    /// Opens when this share of the calls in the window was slow. Unset: no such condition.
    pub slow_call_rate: Option<Ratio>,
    /// Fewer calls than this in the window are no basis for a verdict.
    pub minimum_calls: u32,
    /// Opens at this many failures without a success between them, whatever the window. Unset: no such
    /// condition.
    pub consecutive_failures: Option<NonZeroU32>,
    /// How long calls are rejected before probes are let through.
    #[serde(with = "quantity::duration")]
    pub open: Duration,
    /// Each failed probe doubles that time, up to this; closing sets it back. Unset: always `open`.
    #[serde(with = "quantity::duration::option")]
    pub open_max: Option<Duration>,
    /// The time in open is longer by a random share of itself, up to this one, so that many callers do not
    /// probe together. Default 0%.
    pub open_jitter: Ratio,
    /// A failure that names a longer wait than `open` keeps the breaker open for that wait, up to this.
    /// Default 60 s.
    #[serde(with = "quantity::duration")]
    pub retry_after_max: Duration,
    /// Successes in a row that close a half-open breaker. Also the number of probes at the same time.
    pub successes_to_close: NonZeroU32,
    /// When all probes are under way and the last of them began this long ago, new probes are let through.
    #[serde(with = "quantity::duration")]
    pub probe_age_max: Duration,
    /// After closing, the share of calls let through grows from a tenth to all of them over this time.
    /// Default 0 s: all at once.
    #[serde(with = "quantity::duration")]
    pub ramp: Duration,
    /// What the breaker does with its verdicts. Default `enforce`.
    pub mode: Mode,
}

/// What a breaker does with its verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Rejects while it is open.
    #[default]
    Enforce,
    /// Changes its state and tells of it, but rejects nothing.
    Observe,
    /// Rejects everything, whatever the outcomes.
    ForcedOpen,
    /// Lets everything through and counts nothing.
    Disabled,
}

/// The starting points that the requirement documents name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CircuitBreakerPreset {
    /// 5 failures in 60 s and at least 10 calls; open 30 s; 3 successes in a row close.
    Standard,
    /// 5 failures in 10 s, whatever the volume; open 30 s; 3 successes in a row close.
    Sensitive,
    /// 5 failures in 300 s, whatever the volume; open 60 s; 3 successes in a row close.
    Tolerant,
}

/// What a window holds: the last time, or the last calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The calls that ended within this time, forgotten in tenths of it.
    Time(Duration),
    /// The last so many calls.
    Calls(NonZeroU32),
}

impl CircuitBreakerConfig {
    /// 5 failures in 60 s and at least 10 calls; open 30 s; 3 successes in a row close (S0, S3).
    pub const fn standard() -> Self {
        Self {
            preset: CircuitBreakerPreset::Standard,
            window: Window::Time(Duration::from_secs(60)),
            failures: NonZeroU32::new(5),
            failure_rate: None,
            slow_call_duration: None,
            slow_call_rate: None,
            minimum_calls: 10,
            consecutive_failures: None,
            open: Duration::from_secs(30),
            open_max: None,
            open_jitter: Ratio::ZERO,
            retry_after_max: Duration::from_secs(60),
            successes_to_close: NonZeroU32::new(3).expect("3 is not zero"),
            probe_age_max: Duration::from_secs(60),
            ramp: Duration::ZERO,
            mode: Mode::Enforce,
        }
    }

    /// 5 failures in 10 s, whatever the volume; open 30 s (S4).
    pub const fn sensitive() -> Self {
        Self {
            preset: CircuitBreakerPreset::Sensitive,
            window: Window::Time(Duration::from_secs(10)),
            minimum_calls: 0,
            ..Self::standard()
        }
    }

    /// 5 failures in 300 s, whatever the volume; open 60 s (S1).
    pub const fn tolerant() -> Self {
        Self {
            preset: CircuitBreakerPreset::Tolerant,
            window: Window::Time(Duration::from_secs(300)),
            minimum_calls: 0,
            open: Duration::from_secs(60),
            ..Self::standard()
        }
    }

    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// Names the first setting that can not, with its value and the limit.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.failures.is_none()
            && self.failure_rate.is_none()
            && self.slow_call_rate.is_none()
            && self.consecutive_failures.is_none()
        {
            return Err(Invalid::new(
                "failures",
                "nothing can open this breaker; set failures, failure_rate, slow_call_rate or consecutive_failures",
            ));
        }
        if self.slow_call_rate.is_some() != self.slow_call_duration.is_some() {
            return Err(Invalid::new("slow_call_rate", "slow_call_rate and slow_call_duration go together"));
        }
        if self.slow_call_rate == Some(Ratio::ZERO) {
            return Err(Invalid::new("slow_call_rate", "0% opens the breaker on any call; use more than 0%"));
        }
        if self.open_max.is_some_and(|most| most < self.open) {
            return Err(Invalid::new(
                "open_max",
                format!(
                    "{} is shorter than open, {}",
                    quantity::format_duration(self.open_max.unwrap_or_default()),
                    quantity::format_duration(self.open)
                ),
            ));
        }
        if let Some(failures) = self.failures
            && failures.get() > StripedWindow::MARKED_TOLD_APART
        {
            return Err(Invalid::new(
                "failures",
                format!(
                    "{failures} failures are more than the {} that a window tells apart; use failure_rate",
                    StripedWindow::MARKED_TOLD_APART
                ),
            ));
        }
        if self.failure_rate == Some(Ratio::ZERO) {
            return Err(Invalid::new(
                "failure_rate",
                "0% opens the breaker on any outcome; use more than 0%",
            ));
        }
        if self.open.is_zero() {
            return Err(Invalid::new("open", "0s would never reject; use more than 0s"));
        }
        if self.probe_age_max.is_zero() {
            return Err(Invalid::new("probe_age_max", "0s would let every call through; use more than 0s"));
        }
        match self.window {
            Window::Time(length) if length < Duration::from_millis(10) => {
                let length = quantity::format_duration(length);
                Err(Invalid::new("window", format!("{length} is short; a window of time is at least 10ms")))
            }
            Window::Time(_) if self.minimum_calls > StripedWindow::MARKED_TOLD_APART => Err(Invalid::new(
                "minimum_calls",
                format!(
                    "{} calls are more than the {} that a window of time tells apart",
                    self.minimum_calls,
                    StripedWindow::MARKED_TOLD_APART
                ),
            )),
            Window::Calls(calls) if calls.get() > Window::CALLS_MAX => Err(Invalid::new(
                "window",
                format!("{calls} calls are more than the {} that a window can hold", Window::CALLS_MAX),
            )),
            Window::Calls(calls) if self.minimum_calls > calls.get() => Err(Invalid::new(
                "minimum_calls",
                format!("{} can never be reached in a window of {calls} calls", self.minimum_calls),
            )),
            Window::Calls(calls) => match self.failures.filter(|failures| *failures > calls) {
                Some(failures) => {
                    let problem = format!("{failures} are more than the window's {calls} calls can hold");
                    Err(Invalid::new("failures", problem))
                }
                None => Ok(()),
            },
            Window::Time(_) => Ok(()),
        }
    }
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self::standard()
    }
}

/// [`CircuitBreakerConfig`] as a table in which every key may be left out.
///
/// What is left out comes from `preset`. Setting one of the conditions replaces the preset's.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CircuitBreakerTable {
    /// Where to start: `standard` (the default), `sensitive` or `tolerant`.
    preset: Option<CircuitBreakerPreset>,
    /// The calls that are looked at: a time such as "60s", or a count such as "100 calls".
    window: Option<Window>,
    /// Opens at this many failures in the window.
    failures: Option<NonZeroU32>,
    /// Opens when this share of the calls in the window failed.
    failure_rate: Option<Ratio>,
    /// A call that took at least this long is slow; goes with `slow_call_rate`.
    #[serde(with = "quantity::duration::option")]
    #[schemars(with = "DurationText")]
    slow_call_duration: Option<Duration>,
    /// Opens when this share of the calls in the window was slow.
    slow_call_rate: Option<Ratio>,
    /// Fewer calls than this in the window are no basis for a verdict.
    minimum_calls: Option<u32>,
    /// Opens at this many failures without a success between them.
    consecutive_failures: Option<NonZeroU32>,
    /// How long calls are rejected before probes are let through.
    #[serde(with = "quantity::duration::option")]
    #[schemars(with = "DurationText")]
    open: Option<Duration>,
    /// Each failed probe doubles the time in open, up to this.
    #[serde(with = "quantity::duration::option")]
    #[schemars(with = "DurationText")]
    open_max: Option<Duration>,
    /// The time in open is longer by a random share of itself, up to this one.
    open_jitter: Option<Ratio>,
    /// A failure that names a longer wait keeps the breaker open for it, up to this.
    #[serde(with = "quantity::duration::option")]
    #[schemars(with = "DurationText")]
    retry_after_max: Option<Duration>,
    /// Successes in a row that close a half-open breaker; also the number of probes at the same time.
    successes_to_close: Option<NonZeroU32>,
    /// A probe without an outcome for this long no longer holds its place.
    #[serde(with = "quantity::duration::option")]
    #[schemars(with = "DurationText")]
    probe_age_max: Option<Duration>,
    /// After closing, the share of calls let through grows from a tenth to all of them over this time.
    #[serde(with = "quantity::duration::option")]
    #[schemars(with = "DurationText")]
    ramp: Option<Duration>,
    /// `enforce` (the default), `observe`, `forced_open` or `disabled`.
    mode: Option<Mode>,
}

impl From<CircuitBreakerTable> for CircuitBreakerConfig {
    fn from(table: CircuitBreakerTable) -> Self {
        let preset = match table.preset.unwrap_or(CircuitBreakerPreset::Standard) {
            CircuitBreakerPreset::Standard => Self::standard(),
            CircuitBreakerPreset::Sensitive => Self::sensitive(),
            CircuitBreakerPreset::Tolerant => Self::tolerant(),
        };
        let own_condition = table.failures.is_some()
            || table.failure_rate.is_some()
            || table.slow_call_rate.is_some()
            || table.consecutive_failures.is_some();
        Self {
            preset: preset.preset,
            window: table.window.unwrap_or(preset.window),
            failures: if own_condition { table.failures } else { preset.failures },
            failure_rate: table.failure_rate,
            slow_call_duration: table.slow_call_duration,
            slow_call_rate: table.slow_call_rate,
            minimum_calls: table.minimum_calls.unwrap_or(preset.minimum_calls),
            consecutive_failures: table.consecutive_failures,
            open: table.open.unwrap_or(preset.open),
            open_max: table.open_max,
            open_jitter: table.open_jitter.unwrap_or(preset.open_jitter),
            retry_after_max: table.retry_after_max.unwrap_or(preset.retry_after_max),
            successes_to_close: table.successes_to_close.unwrap_or(preset.successes_to_close),
            probe_age_max: table.probe_age_max.unwrap_or(preset.probe_age_max),
            ramp: table.ramp.unwrap_or(preset.ramp),
            mode: table.mode.unwrap_or(preset.mode),
        }
    }
}

impl Presets for CircuitBreakerConfig {
    type Table = CircuitBreakerTable;
    const NAMES: &'static [&'static str] = &["standard", "sensitive", "tolerant"];

    fn preset(name: &str) -> Option<Self> {
        match name {
            "standard" => Some(Self::standard()),
            "sensitive" => Some(Self::sensitive()),
            "tolerant" => Some(Self::tolerant()),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for CircuitBreakerConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_preset(deserializer)
    }
}

impl JsonSchema for CircuitBreakerConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CircuitBreaker".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        preset_schema::<Self>(generator)
    }
}

impl Window {
    /// The most calls that a count window holds: one byte each.
    pub const CALLS_MAX: u32 = 65_536;
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_suffix("calls") {
            Some(count) => count.trim().parse().map(Self::Calls).map_err(|_| {
                format!("`{text}` is no window; write a count above zero, such as \"100 calls\"")
            }),
            None => quantity::parse_duration(text).map(Self::Time).map_err(|error| error.to_string()),
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(length) => f.write_str(&quantity::format_duration(*length)),
            Self::Calls(calls) => write!(f, "{calls} calls"),
        }
    }
}

impl Serialize for Window {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Window {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Window".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["60s", "100 calls"] })
    }
}
