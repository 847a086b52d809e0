use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, DurationText, Ratio};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantile::Quantile;

/// When a further attempt begins beside the one under way, and at whose expense.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HedgeConfig {
    /// A further attempt begins so long after the one before. Above zero. With `quantile`, only until there
    /// are `samples_min`; without either of the two nothing says when to begin.
    #[serde(default, with = "quantity::duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationText>")]
    pub after: Option<Duration>,
    /// A further attempt begins when this share of the calls of late would have succeeded, such as "p95".
    /// Without `after`, slow calls are not hedged until there are `samples_min`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<Quantile>,
    /// Latencies that `quantile` needs before it applies. Default 100.
    #[serde(default = "samples_min")]
    pub samples_min: NonZeroU32,
    /// How far back `quantile` looks: at least half of it, at most all of it. Above zero. Default "60s".
    #[serde(default = "window", with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub window: Duration,
    /// Attempts of one call, the first included; all of them may be under way at once. 2 (the default) or 3.
    #[serde(default = "attempts")]
    pub attempts: NonZeroU32,
    /// Further attempts may be this share of the calls of the last ten seconds. Default "10%".
    #[serde(default = "budget")]
    pub budget: Ratio,
    /// Further attempts that are allowed in ten seconds however few the calls. Default 10.
    #[serde(default = "budget_minimum")]
    pub budget_minimum: u32,
}

/// The most attempts of one call.
pub(super) const ATTEMPTS_MAX: u32 = 3;

fn samples_min() -> NonZeroU32 {
    NonZeroU32::new(100).expect("100 is not zero")
}

fn window() -> Duration {
    Duration::from_secs(60)
}

fn attempts() -> NonZeroU32 {
    NonZeroU32::new(2).expect("2 is not zero")
}

fn budget() -> Ratio {
    Ratio::from_percent(10)
}

fn budget_minimum() -> u32 {
    10
}

impl HedgeConfig {
    /// A second attempt after `delay`.
    pub fn after(delay: Duration) -> Self {
        Self { after: Some(delay), quantile: None, ..Self::quantile(Quantile::P95) }
    }

    /// A second attempt when `quantile` of the calls of late would have succeeded.
    pub fn quantile(quantile: Quantile) -> Self {
        Self {
            after: None,
            quantile: Some(quantile),
            samples_min: samples_min(),
            window: window(),
            attempts: attempts(),
            budget: budget(),
            budget_minimum: budget_minimum(),
        }
    }

    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// Names the first setting that can not, with its value and the limit.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.after.is_none() && self.quantile.is_none() {
            return Err(Invalid::new(
                "after",
                "nothing says when to hedge; write `after`, `quantile`, or both",
            ));
        }
        if self.after.is_some_and(|after| after.is_zero()) {
            return Err(Invalid::new("after", "0s begins two attempts of every call; write more"));
        }
        if self.window.is_zero() {
            return Err(Invalid::new("window", "0s remembers nothing; write more"));
        }
        if !(2..=ATTEMPTS_MAX).contains(&self.attempts.get()) {
            let problem = format!("{} is not 2 or 3, the first attempt included", self.attempts);
            return Err(Invalid::new("attempts", problem));
        }
        if self.budget == Ratio::ZERO && self.budget_minimum == 0 {
            return Err(Invalid::new(
                "budget",
                "0% with a budget_minimum of 0 forbids every further attempt",
            ));
        }
        Ok(())
    }
}
