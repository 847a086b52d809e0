use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::config::{Invalid, Presets, preset_schema};
use intertie_core::over_presets;
use intertie_core::quantity::{self, DurationText, Ratio};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::window::Window;
use crate::striped::StripedWindow;

/// When a circuit breaker opens, how long it stays open, and what closes it.
///
/// It opens as soon as one of the conditions that are set holds: `failures`, `failure_rate`,
/// `slow_call_rate`, or `consecutive_failures`. The first three look at the calls in `window` and wait until
/// it holds `minimum_calls` of them. Only the outcome that a condition counts can open it: a failure, or a
/// slow call. A file that sets one of the conditions takes none of them from its preset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(rename = "CircuitBreaker", transform = preset_schema)]
pub struct CircuitBreakerConfig {
    /// Where the values come from that a file leaves out: `standard` (the default), `sensitive` or
    /// `tolerant`.
    pub preset: CircuitBreakerPreset,
    /// The calls that `failures`, `failure_rate` and `slow_call_rate` look at: a time such as `"60s"`, or a
    /// count such as `"100 calls"`.
    pub window: Window,
    /// Opens at this many failures in the window. Unset: no such condition.
    pub failures: Option<NonZeroU32>,
    /// Opens when this share of the calls in the window failed. Unset: no such condition.
    pub failure_rate: Option<Ratio>,
    /// A call that took at least this long is slow, whatever its outcome. Goes with `slow_call_rate`.
    #[serde(default, with = "quantity::duration::option")]
    #[schemars(with = "DurationText")]
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
    #[schemars(with = "DurationText")]
    pub open: Duration,
    /// Each failed probe doubles that time, up to this; closing sets it back. Unset: always `open`.
    #[serde(default, with = "quantity::duration::option")]
    #[schemars(with = "DurationText")]
    pub open_max: Option<Duration>,
    /// The time in open is longer by a random share of itself, up to this one, so that many callers do not
    /// probe together. Default 0%.
    pub open_jitter: Ratio,
    /// A failure that names a longer wait than `open` keeps the breaker open for that wait, up to this.
    /// Default 60 s.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub retry_after_max: Duration,
    /// Successes in a row that close a half-open breaker. Also the number of probes at the same time.
    pub successes_to_close: NonZeroU32,
    /// When all probes are under way and the last of them began this long ago, new probes are let through.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub probe_age_max: Duration,
    /// After closing, the share of calls let through grows from a tenth to all of them over this time.
    /// Default 0 s: all at once.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub ramp: Duration,
    /// What the breaker does with its verdicts: `enforce` (the default), `observe`, `forced_open` or
    /// `disabled`.
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
    /// 5 failures in 60 s and at least 10 calls; open 30 s; 3 successes in a row close (S0, S3).
    Standard,
    /// 5 failures in 10 s, whatever the volume; open 30 s; 3 successes in a row close (S4).
    Sensitive,
    /// 5 failures in 300 s, whatever the volume; open 60 s; 3 successes in a row close (S1).
    Tolerant,
}

impl CircuitBreakerConfig {
    /// [`CircuitBreakerPreset::Standard`].
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

    /// [`CircuitBreakerPreset::Sensitive`].
    pub const fn sensitive() -> Self {
        Self {
            preset: CircuitBreakerPreset::Sensitive,
            window: Window::Time(Duration::from_secs(10)),
            minimum_calls: 0,
            ..Self::standard()
        }
    }

    /// [`CircuitBreakerPreset::Tolerant`].
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
                Err(Invalid::new("window", "a window of time is at least 10ms"))
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
            Window::Calls(calls) if self.failures.is_some_and(|failures| failures > calls) => Err(
                Invalid::new("failures", format!("more failures than the window's {calls} calls can hold")),
            ),
            _ => Ok(()),
        }
    }
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self::standard()
    }
}

impl Presets for CircuitBreakerConfig {
    type Name = CircuitBreakerPreset;
    const ALTERNATIVES: &'static [&'static str] =
        &["failures", "failure_rate", "slow_call_rate", "consecutive_failures"];

    fn preset(name: CircuitBreakerPreset) -> Self {
        match name {
            CircuitBreakerPreset::Standard => Self::standard(),
            CircuitBreakerPreset::Sensitive => Self::sensitive(),
            CircuitBreakerPreset::Tolerant => Self::tolerant(),
        }
    }

    fn unnamed() -> Option<Self> {
        Some(Self::standard())
    }
}

over_presets!(CircuitBreakerConfig);
