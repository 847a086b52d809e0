use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, DurationText};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many calls may run and wait at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkheadConfig {
    /// Calls that run at the same time.
    pub concurrent: NonZeroU32,
    /// Calls that wait at the same time for one of these places. Default 0: reject at once.
    #[serde(default)]
    pub queue: u32,
    /// The longest time that a call waits. Default "0s", which needs a queue of 0.
    #[serde(default, with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub wait: Duration,
}

impl BulkheadConfig {
    /// `concurrent` calls at once and no queue.
    pub const fn new(concurrent: NonZeroU32) -> Self {
        Self { concurrent, queue: 0, wait: Duration::ZERO }
    }

    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// Names the first setting that can not, with its value and the limit.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.queue > 0 && self.wait.is_zero() {
            return Err(Invalid::new("wait", format!("a queue of {} needs a wait above 0s", self.queue)));
        }
        if self.queue == 0 && !self.wait.is_zero() {
            return Err(Invalid::new("queue", "nobody can wait in a queue of 0; set a queue or drop `wait`"));
        }
        Ok(())
    }
}
