use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, DurationText};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::adaptive::AdaptiveConfig;

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
    /// Which of the waiting calls that are equally critical, and have the same key, is served first: `fifo`
    /// (the default) or `lifo`. It needs a queue.
    #[serde(default)]
    pub order: Order,
    /// What a call needs at least once it runs. A waiting call that has less left of its own deadline when
    /// its turn comes is dropped instead of run. Default "0s": only a call that has nothing left. It needs
    /// a queue.
    #[serde(default, with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub run_min: Duration,
    /// Lets the limit follow what the dependency can take; `concurrent` is then where it starts. Unset: it
    /// stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<AdaptiveConfig>,
}

/// Which of two waiting calls is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The one that waits longer. Fair, and right while the queue empties between bursts: every call in it
    /// is served in time.
    #[default]
    Fifo,
    /// The one that came later; when the queue is full, an arrival takes the oldest's seat. Right when
    /// callers give up before a long queue reaches them: under a lasting overload `fifo` serves each call
    /// when it is nearly too late, `lifo` serves some at once and lets the others time out.
    Lifo,
}

impl BulkheadConfig {
    /// `concurrent` calls at once and no queue.
    pub const fn new(concurrent: NonZeroU32) -> Self {
        Self {
            concurrent,
            queue: 0,
            wait: Duration::ZERO,
            order: Order::Fifo,
            run_min: Duration::ZERO,
            adaptive: None,
        }
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
        if self.queue == 0 && self.order != Order::Fifo {
            return Err(Invalid::new("order", "a queue of 0 has no order; set a queue or drop `order`"));
        }
        if self.queue == 0 && !self.run_min.is_zero() {
            return Err(Invalid::new(
                "run_min",
                "it applies to calls that waited; set a queue or drop `run_min`",
            ));
        }
        match &self.adaptive {
            Some(adaptive) => adaptive.validate(self.concurrent),
            None => Ok(()),
        }
    }

    /// The most that may ever run at the same time.
    pub(super) fn concurrent_max(&self) -> u32 {
        self.adaptive.as_ref().map_or(self.concurrent, |adaptive| adaptive.max).get()
    }
}
