use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, ByteSize, DurationText};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How repetitions are known, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IdempotencyConfig {
    /// How long an answer is kept for repetitions. Default "24h".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub kept: Duration,
    /// How long a request is under way after its process was last heard of, which is asked every third of it; then a
    /// repetition may do it again. Default "1m".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub in_flight_timeout: Duration,
    /// The largest answer that is kept; a repetition of a request with a larger one is told so, and not done. Default
    /// "1MiB".
    pub answer_bytes_max: ByteSize,
}

impl Default for IdempotencyConfig {
    fn default() -> Self {
        Self {
            kept: Duration::from_secs(24 * 3600),
            in_flight_timeout: Duration::from_secs(60),
            answer_bytes_max: ByteSize::from_bytes(1 << 20),
        }
    }
}

impl IdempotencyConfig {
    /// Finds settings that can not work.
    ///
    /// # Errors
    /// The first of them, with its value and the limit.
    pub fn check(&self) -> Result<(), Invalid> {
        for (field, duration) in [("kept", self.kept), ("in_flight_timeout", self.in_flight_timeout)] {
            if duration.is_zero() {
                return Err(Invalid::new(field, "0s is no time; it must be above zero"));
            }
        }
        if self.kept < self.in_flight_timeout {
            let [kept, time] = [self.kept, self.in_flight_timeout].map(quantity::format_duration);
            return Err(Invalid::new(
                "kept",
                format!("{kept} is shorter than `in_flight_timeout`, which is {time}"),
            ));
        }
        Ok(())
    }
}
