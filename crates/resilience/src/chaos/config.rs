use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, DurationText, Ratio};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which faults are injected, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ChaosConfig {
    /// Whether anything is injected at all. Default false.
    pub enabled: bool,
    /// The share of calls that fail without reaching the operation. Default 0%.
    pub fault_rate: Ratio,
    /// The share of calls that are held up for `latency` first, those that then fail included. Default 0%.
    pub latency_rate: Ratio,
    /// How long a call is held up. Default 0 s.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub latency: Duration,
    /// What the choice of calls begins with: the same seed chooses the same calls. Default 0.
    pub seed: u64,
}

impl Default for ChaosConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            fault_rate: Ratio::ZERO,
            latency_rate: Ratio::ZERO,
            latency: Duration::ZERO,
            seed: 0,
        }
    }
}

impl ChaosConfig {
    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// Names the first setting that can not, with its value and the limit.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.latency_rate != Ratio::ZERO && self.latency.is_zero() {
            return Err(Invalid::new("latency", "0s holds nothing up; set it, or drop latency_rate"));
        }
        if self.latency_rate == Ratio::ZERO && !self.latency.is_zero() {
            return Err(Invalid::new("latency_rate", "0% never holds a call up; set it, or drop latency"));
        }
        if self.enabled && self.fault_rate == Ratio::ZERO && self.latency_rate == Ratio::ZERO {
            return Err(Invalid::new("enabled", "nothing is injected; set fault_rate or latency_rate"));
        }
        Ok(())
    }
}
