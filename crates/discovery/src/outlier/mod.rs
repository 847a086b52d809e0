//! Leaves an endpoint out for a while after it failed several real calls in a row.
//!
//! Where a health check asks an endpoint how it is, this looks at what callers got. An endpoint with
//! [`OutlierConfig::consecutive_failures`] failures in a row is ejected; each further ejection lasts longer,
//! and [`may_eject`] keeps enough endpoints in service. An ejection ends by itself: the endpoint is back when
//! its time is over, and must fail as often again before it is ejected anew.
//!
//! Source: "Outlier detection" in Envoy's documentation, of which this is the consecutive-failures kind.

#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::clock::{Instant, nanos};
use intertie_core::config::Invalid;
use intertie_core::failure::Evidence;
use intertie_core::quantity::{self, DurationText, Ratio};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When an endpoint is ejected, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OutlierConfig {
    /// Failures in a row that eject an endpoint; a success starts the count anew. Default 5.
    pub consecutive_failures: NonZeroU32,
    /// How long the first ejection lasts; the nth in a row lasts n times as long, `ejection_max` at most.
    /// Each such period that an endpoint then spends in service takes one from n. Above zero; default `"30s"`.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub ejection: Duration,
    /// The longest ejection. At least `ejection`; default `"5m"`.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub ejection_max: Duration,
    /// The largest share of a service's endpoints that may be ejected at the same time, rounded down to whole
    /// endpoints: at 50%, one of 2 or 3, two of 4. A lone endpoint is never ejected. Above 0%; at 100% all
    /// endpoints of a service can be out at once. Default `"50%"`.
    pub max_ejected: Ratio,
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: const { NonZeroU32::new(5).expect("not zero") },
            ejection: Duration::from_secs(30),
            ejection_max: Duration::from_secs(300),
            max_ejected: Ratio::from_percent(50),
        }
    }
}

impl OutlierConfig {
    /// Checks that these options can work.
    ///
    /// # Errors
    /// When `ejection` is zero or above `ejection_max`, or `max_ejected` allows no ejection at all.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.ejection.is_zero() {
            return Err(Invalid::new(
                "ejection",
                "an ejection of no time has no effect; it must be above zero",
            ));
        }
        if self.ejection_max < self.ejection {
            return Err(Invalid::new(
                "ejection_max",
                format!(
                    "{} is shorter than the first ejection, {}",
                    quantity::format_duration(self.ejection_max),
                    quantity::format_duration(self.ejection)
                ),
            ));
        }
        if self.max_ejected == Ratio::ZERO {
            return Err(Invalid::new(
                "max_ejected",
                "0% never ejects an endpoint; leave out `outlier` instead",
            ));
        }
        Ok(())
    }
}

/// Whether one more of `endpoints` endpoints may be ejected when `ejected` of them are already: the share
/// that is then out must not be above [`OutlierConfig::max_ejected`]. Never for a lone endpoint.
pub fn may_eject(config: &OutlierConfig, ejected: usize, endpoints: usize) -> bool {
    endpoints > 1 && (ejected as u64) < config.max_ejected.of(endpoints as u64)
}

/// An endpoint was taken out of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// From then on the endpoint may be used again.
    pub until: Instant,
    /// Of how many ejections in a row this is the last. Stops where `ejection_max` is reached, so that an
    /// endpoint that was out for days needs no days to be trusted again.
    pub times: u32,
}

/// One endpoint's record of real calls.
#[derive(Debug, Clone, Default)]
pub struct Outlier {
    failures: u32,
    last: Option<Ejection>,
}

impl Outlier {
    /// Learns what a call that ended at `now` says of the endpoint, and ejects the endpoint if that was the
    /// last straw; the caller tells [`Outlier::is_ejected`] to whoever picks endpoints.
    ///
    /// - [`Evidence::None`] changes nothing, nor does any call that ends while the endpoint is ejected: such
    ///   calls began before, and speak of what is punished already.
    /// - While `may_eject` is false (see [`may_eject`]) failures go on counting, so the first failure after
    ///   it becomes true ejects.
    pub fn record(
        &mut self,
        config: &OutlierConfig,
        now: Instant,
        evidence: Evidence,
        may_eject: bool,
    ) -> Option<Ejection> {
        if self.is_ejected(now) {
            return None;
        }
        match evidence {
            Evidence::None => return None,
            Evidence::Success => self.failures = 0,
            Evidence::Failure => self.failures = self.failures.saturating_add(1),
        }
        if !may_eject || self.failures < config.consecutive_failures.get() {
            return None;
        }
        let times = self.times(config, now).saturating_add(1).min(times_max(config));
        let lasts = config.ejection.saturating_mul(times).min(config.ejection_max);
        let ejection = Ejection { until: now + lasts, times };
        *self = Self { failures: 0, last: Some(ejection) };
        Some(ejection)
    }

    /// Whether the endpoint is out of service at `now`.
    pub fn is_ejected(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now < last.until)
    }

    /// How many ejections still count at `now`: those in a row, less one for each whole `ejection` that the
    /// endpoint has been in service since.
    fn times(&self, config: &OutlierConfig, now: Instant) -> u32 {
        let Some(last) = self.last else { return 0 };
        let in_service = nanos(now.saturating_since(last.until));
        let forgiven = in_service.checked_div(nanos(config.ejection)).unwrap_or(u64::MAX);
        last.times.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }
}

/// The number of ejections in a row from which on all last `ejection_max`.
fn times_max(config: &OutlierConfig) -> u32 {
    let whole = nanos(config.ejection_max).div_ceil(nanos(config.ejection).max(1));
    u32::try_from(whole).unwrap_or(u32::MAX).max(1)
}
