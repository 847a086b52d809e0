use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, DurationText};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How large a batch grows, how long its items wait, and how many batches are in flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchConfig {
    /// Items in one batch: at least 2.
    pub size_max: NonZeroU32,
    /// Batches in flight at the same time. Default 1: items that come meanwhile go when it has ended.
    #[serde(default = "one")]
    pub concurrent: NonZeroU32,
    /// How long an item waits for others while fewer than `concurrent` batches are in flight, and at least
    /// one is. Default "0s": items gather only while all `concurrent` are. Above "0s" it needs a
    /// `concurrent` above 1. Timers tick in milliseconds.
    #[serde(default, with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub window: Duration,
    /// Items that wait at the same time. Default ten batches, 10 × `size_max`; at least `size_max`. One more
    /// is rejected.
    #[serde(default)]
    pub queue: Option<NonZeroU32>,
    /// The longest time that an item waits to be sent. Default "1s"; longer than `window`. An item that
    /// waited so long is dropped and its caller told. The time in flight is not bounded by this.
    #[serde(default = "second", with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub wait: Duration,
    /// Whether a batch that fails as a whole is sent again in halves, until the items that make it fail are
    /// alone. Default false. The operation must then be idempotent: a failed batch may have done a part of
    /// its work. A batch of n items becomes 2n − 1 calls at worst.
    #[serde(default)]
    pub bisect: bool,
}

const fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

const fn second() -> Duration {
    Duration::from_secs(1)
}

impl BatchConfig {
    /// Batches of at most `size_max` items, one in flight at a time.
    pub const fn new(size_max: NonZeroU32) -> Self {
        Self {
            size_max,
            concurrent: one(),
            window: Duration::ZERO,
            queue: None,
            wait: second(),
            bisect: false,
        }
    }

    /// Items that may wait: `queue`, or ten batches.
    pub fn capacity(&self) -> u32 {
        self.queue.map_or(self.size_max.get().saturating_mul(10), NonZeroU32::get)
    }

    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// Names the first setting that can not, with its value and the limit.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.size_max.get() < 2 {
            return Err(Invalid::new("size_max", "a batch of 1 is a plain call; the least is 2"));
        }
        if !self.window.is_zero() && self.concurrent.get() == 1 {
            let window = quantity::format_duration(self.window);
            return Err(Invalid::new(
                "window",
                format!(
                    "{window} never counts with `concurrent` = 1: items wait for the one batch in flight"
                ),
            ));
        }
        if self.capacity() < self.size_max.get() {
            return Err(Invalid::new(
                "queue",
                format!("{} is below `size_max`, {}: no batch fills", self.capacity(), self.size_max),
            ));
        }
        if self.wait <= self.window {
            return Err(Invalid::new(
                "wait",
                format!(
                    "{} is not longer than `window`, {}",
                    quantity::format_duration(self.wait),
                    quantity::format_duration(self.window)
                ),
            ));
        }
        Ok(())
    }
}
