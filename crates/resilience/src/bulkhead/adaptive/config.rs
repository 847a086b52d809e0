use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, DurationText, Ratio};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the limit of a bulkhead follows what the dependency can take. `concurrent` is where it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveConfig {
    /// `aimd` or `gradient`.
    pub algorithm: Algorithm,
    /// The limit never falls below this. Default 1.
    #[serde(default = "min_default")]
    pub min: NonZeroU32,
    /// The limit never rises above this.
    pub max: NonZeroU32,
    /// The share that an overload takes from the limit. Default "10%".
    #[serde(default = "decrease_default")]
    pub decrease: Ratio,
    /// `aimd` only, and needed there: a call that runs longer speaks of an overload.
    #[serde(default, with = "quantity::duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DurationText")]
    pub latency_max: Option<Duration>,
    /// `gradient` only: by how much slower than under light load calls may be before the limit falls;
    /// less than 100%. Default "50%".
    #[serde(default = "slowdown_max_default")]
    pub slowdown_max: Ratio,
    /// `gradient` only: how often the limit is adjusted. Default "500ms".
    #[serde(default = "window_default", with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub window: Duration,
    /// `gradient` only: how often the latency under light load is measured, for one window with half of the
    /// calls; at least ten windows. Default "30s".
    #[serde(default = "probe_every_default", with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub probe_every: Duration,
}

/// What moves the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Calls that are slower than `latency_max`, and refusals, cut it; others raise it.
    Aimd,
    /// It falls as calls become slower than they are under light load.
    Gradient,
}

impl Algorithm {
    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aimd => "aimd",
            Self::Gradient => "gradient",
        }
    }
}

const fn min_default() -> NonZeroU32 {
    NonZeroU32::MIN
}

const fn decrease_default() -> Ratio {
    Ratio::from_percent(10)
}

const fn slowdown_max_default() -> Ratio {
    Ratio::from_percent(50)
}

const fn window_default() -> Duration {
    Duration::from_millis(500)
}

const fn probe_every_default() -> Duration {
    Duration::from_secs(30)
}

impl AdaptiveConfig {
    /// Additive increase up to `max`, multiplicative decrease when calls take longer than `latency_max`.
    pub const fn aimd(max: NonZeroU32, latency_max: Duration) -> Self {
        Self { algorithm: Algorithm::Aimd, latency_max: Some(latency_max), ..Self::gradient(max) }
    }

    /// Up to `max`, as long as calls are hardly slower than under light load.
    pub const fn gradient(max: NonZeroU32) -> Self {
        Self {
            algorithm: Algorithm::Gradient,
            min: min_default(),
            max,
            decrease: decrease_default(),
            latency_max: None,
            slowdown_max: slowdown_max_default(),
            window: window_default(),
            probe_every: probe_every_default(),
        }
    }

    /// Checks that the settings can work together, and with a limit that starts at `concurrent`.
    ///
    /// # Errors
    /// Names the first setting that can not, with its value and the limit.
    pub fn validate(&self, concurrent: NonZeroU32) -> Result<(), Invalid> {
        let Self { min, max, .. } = self;
        if !(*min..=*max).contains(&concurrent) {
            let problem = format!("{concurrent} is outside of the adaptive limit's {min} to {max}");
            return Err(Invalid::new("concurrent", problem));
        }
        if self.decrease == Ratio::ZERO || self.decrease == Ratio::ONE {
            let problem = format!("{} leaves all or nothing; use something between", self.decrease);
            return Err(Invalid::new("decrease", problem));
        }
        match (self.algorithm, self.latency_max) {
            (Algorithm::Aimd, Some(latency_max)) if latency_max.is_zero() => {
                Err(Invalid::new("latency_max", "every call is slower than 0s; use more than 0s"))
            }
            (Algorithm::Aimd, Some(_)) => Ok(()),
            (Algorithm::Aimd, None) => {
                Err(Invalid::new("latency_max", "aimd needs it; `algorithm = \"gradient\"` finds its own"))
            }
            (Algorithm::Gradient, Some(_)) => {
                Err(Invalid::new("latency_max", "gradient finds its own; drop it, or use `aimd`"))
            }
            (Algorithm::Gradient, None) => self.validate_gradient(),
        }
    }

    fn validate_gradient(&self) -> Result<(), Invalid> {
        if self.slowdown_max == Ratio::ONE {
            // Probes run at half of the calls: they could not tell a queue from light load.
            return Err(Invalid::new("slowdown_max", "100% would hide any queue; use less"));
        }
        if self.window.is_zero() {
            return Err(Invalid::new("window", "nothing happens in 0s; use more than 0s"));
        }
        if self.probe_every < self.window * 10 {
            let problem = format!(
                "{} is less than ten windows of {}, so that most of the time would be probes",
                quantity::format_duration(self.probe_every),
                quantity::format_duration(self.window)
            );
            return Err(Invalid::new("probe_every", problem));
        }
        Ok(())
    }
}
