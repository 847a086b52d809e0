use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, DurationText};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How events are stored and handed to the handlers of this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EventBusConfig {
    /// What keeps events in order with each other in the topic. Default "subject".
    pub partition_by: PartitionBy,
    /// Publications that are under way at the same time, a batch being one; one more is refused at once. Handlers that
    /// publish what makes them publish again end here. Default 1000.
    pub in_flight_max: NonZeroU32,
    /// Handlers of one publication that run at the same time. Default 16.
    pub concurrent: NonZeroU32,
    /// Events in a batch; a larger one is refused. Default 1000.
    pub batch_max: NonZeroU32,
    /// How long one handler, or one middleware, has for one event; after that it is dropped and has failed. Default
    /// "30s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub handler_timeout: Duration,
    /// How long the engine may take to store events; after that it is not known whether it did. Default "10s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub store_timeout: Duration,
    /// Subscriptions at the same time: each event is held against the pattern of each. Default 1000.
    pub subscriptions_max: NonZeroU32,
    /// Middlewares. Default 100.
    pub middlewares_max: NonZeroU32,
    /// How long publications may go on when the bus is shut down; then handlers are dropped. Default "30s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub drain_timeout: Duration,
}

/// What keeps events in order with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartitionBy {
    /// Their `partitionkey`, or their `subject` where they have none: what happened to one entity stays in order.
    #[default]
    Subject,
    /// Their `partitionkey`, and nothing where they have none.
    Key,
}

impl Default for EventBusConfig {
    fn default() -> Self {
        const THOUSAND: NonZeroU32 = NonZeroU32::new(1000).expect("1000 is not zero");
        Self {
            partition_by: PartitionBy::default(),
            in_flight_max: THOUSAND,
            concurrent: NonZeroU32::new(16).expect("16 is not zero"),
            batch_max: THOUSAND,
            handler_timeout: Duration::from_secs(30),
            store_timeout: Duration::from_secs(10),
            subscriptions_max: THOUSAND,
            middlewares_max: NonZeroU32::new(100).expect("100 is not zero"),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl EventBusConfig {
    /// Finds settings that can not work.
    ///
    /// # Errors
    /// The first of them.
    pub fn validate(&self) -> Result<(), Invalid> {
        for (field, time) in
            [("handler_timeout", self.handler_timeout), ("store_timeout", self.store_timeout)]
        {
            if time.is_zero() {
                return Err(Invalid::new(field, "0s is no time; it must be above zero"));
            }
        }
        Ok(())
    }
}
