use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, DurationText, Ratio};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many resources a pool keeps, for how long, and how long a caller waits for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PoolConfig {
    /// Idle resources that are kept ready beside those in use, as far as `max` allows. Default 2. Neither
    /// `idle_timeout` nor `lifetime` takes idle resources below it; [`Pool::maintain`](super::Pool::maintain)
    /// connects what is missing.
    pub min_idle: u32,
    /// Resources that are open at the same time: in use, idle, being checked and being connected. Default 10.
    pub max: NonZeroU32,
    /// How long a resource beyond `min_idle` stays idle before it is dropped. Default "30s"; shorter than
    /// `lifetime`.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub idle_timeout: Duration,
    /// The age at which a resource is replaced, whether it works or not: below what the other side, or a
    /// firewall between, allows. Default "30m". It is never taken from who uses it; one that is idle stays
    /// until [`Pool::maintain`](super::Pool::maintain) has connected its replacement.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub lifetime: Duration,
    /// Each resource's own lifetime is shorter than `lifetime` by up to this share of it, so that those
    /// connected together do not end together. Default "20%"; below 100%.
    pub lifetime_jitter: Ratio,
    /// The longest time that [`Pool::get`](super::Pool::get) takes: queueing, checking and connecting.
    /// Default "10s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub acquire_timeout: Duration,
    /// The longest time that one connect takes. Default "5s"; shorter than `acquire_timeout`.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub connect_timeout: Duration,
    /// The longest time that one check takes; a resource that needs longer is dropped. Default "1s"; shorter
    /// than `acquire_timeout`.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub check_timeout: Duration,
    /// Callers that wait at the same time; one more is rejected at once. Default 100.
    pub queue: u32,
    /// Whether a caller's resource is checked before it gets it. Default `{ after_idle = "1s" }`.
    pub check_on_checkout: CheckOnCheckout,
    /// How often an idle resource is checked in the background. Default "60s"; shorter than `lifetime`.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub check_every: Duration,
    /// A resource that is in use for longer is reported, once, with the place in the code that got it.
    /// Unset by default: no reports.
    #[serde(with = "quantity::duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DurationText")]
    pub leak_after: Option<Duration>,
}

/// When a resource is checked before a caller gets it. A check costs the caller a round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckOnCheckout {
    /// Each time: twice the round trips of a busy pool.
    Always,
    /// When nothing has shown for this long that it works. The default, with one second: connections die in
    /// silence, when the other side restarts or a firewall forgets them, and hardly between two calls in
    /// quick succession. A busy pool pays nothing, a quiet one a round trip.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    AfterIdle(Duration),
    /// Never: what died since the last background check reaches the caller.
    Never,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            min_idle: 2,
            max: NonZeroU32::new(10).expect("10 is not zero"),
            idle_timeout: Duration::from_secs(30),
            lifetime: Duration::from_secs(30 * 60),
            lifetime_jitter: Ratio::from_percent(20),
            acquire_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            check_timeout: Duration::from_secs(1),
            queue: 100,
            check_on_checkout: CheckOnCheckout::AfterIdle(Duration::from_secs(1)),
            check_every: Duration::from_secs(60),
            leak_after: None,
        }
    }
}

impl PoolConfig {
    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// Names the first setting that can not, with its value and the limit.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.min_idle > self.max.get() {
            let problem = format!("{} idle resources are more than the {} of `max`", self.min_idle, self.max);
            return Err(Invalid::new("min_idle", problem));
        }
        let durations = [
            ("idle_timeout", Some(self.idle_timeout)),
            ("lifetime", Some(self.lifetime)),
            ("acquire_timeout", Some(self.acquire_timeout)),
            ("connect_timeout", Some(self.connect_timeout)),
            ("check_timeout", Some(self.check_timeout)),
            ("check_every", Some(self.check_every)),
            ("leak_after", self.leak_after),
        ];
        for (field, duration) in durations {
            if duration.is_some_and(|duration| duration.is_zero()) {
                return Err(Invalid::new(field, "0s leaves no time at all; use more than 0s"));
            }
        }
        let nested = [
            ("idle_timeout", self.idle_timeout, "lifetime", self.lifetime),
            ("check_every", self.check_every, "lifetime", self.lifetime),
            ("connect_timeout", self.connect_timeout, "acquire_timeout", self.acquire_timeout),
            ("check_timeout", self.check_timeout, "acquire_timeout", self.acquire_timeout),
        ];
        for (inner, inner_value, outer, outer_value) in nested {
            if inner_value >= outer_value {
                let shown = quantity::format_duration;
                return Err(Invalid::new(
                    inner,
                    format!(
                        "{} would never be reached; use less than the {} of `{outer}`",
                        shown(inner_value),
                        shown(outer_value)
                    ),
                ));
            }
        }
        if self.lifetime_jitter == Ratio::ONE {
            return Err(Invalid::new("lifetime_jitter", "100% allows a lifetime of 0s; use less than 100%"));
        }
        if self.check_on_checkout == CheckOnCheckout::AfterIdle(Duration::ZERO) {
            return Err(Invalid::new("check_on_checkout", "after an idle time of 0s is \"always\""));
        }
        Ok(())
    }
}
