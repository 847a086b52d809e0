//! Leaves an endpoint out after it failed several active checks in a row, until it passed several in a row.
//!
//! Asking regularly finds a dead endpoint before a caller does and notices when it is back. The two numbers
//! [`HealthCheckConfig::unhealthy_after`] and [`HealthCheckConfig::healthy_after`] keep one lost packet from
//! taking an endpoint out and one lucky answer from bringing it back.
//!
//! Source: the `rise` and `fall` of HAProxy's health checks.

#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, DurationText};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is asked of each endpoint, how often, and how many answers count.
///
/// An endpoint that dies just after a check is noticed after `unhealthy_after` x `every` + `timeout` at the
/// latest: 16 s with the defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthCheckConfig {
    /// The path that is asked by GET, with a query if need be; any 2xx or 3xx within `timeout` passes.
    /// Begins with `/`. Default `"/health/ready"`.
    pub path: String,
    /// The time from one check of an endpoint to the next. Above zero; default `"5s"`.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub every: Duration,
    /// How long an answer may take. Above zero and at most `every`, so that checks of one endpoint never
    /// overlap; default `"1s"`.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
    /// Checks passed in a row that bring an unhealthy endpoint back. Default 2.
    pub healthy_after: NonZeroU32,
    /// Checks failed in a row that take a healthy endpoint out. Default 3.
    pub unhealthy_after: NonZeroU32,
}

impl Default for HealthCheckConfig {
    fn default() -> Self {
        Self {
            path: "/health/ready".to_owned(),
            every: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            healthy_after: const { NonZeroU32::new(2).expect("not zero") },
            unhealthy_after: const { NonZeroU32::new(3).expect("not zero") },
        }
    }
}

impl HealthCheckConfig {
    /// Checks that these options can work.
    ///
    /// # Errors
    /// When `path` can not stand in a request, a duration is zero, or `timeout` is above `every`.
    pub fn validate(&self) -> Result<(), Invalid> {
        if !self.path.starts_with('/') {
            return Err(Invalid::new("path", format!("`{}` does not begin with `/`", self.path)));
        }
        if let Some(stray) = self.path.chars().find(|it| !it.is_ascii_graphic() || *it == '#') {
            return Err(Invalid::new(
                "path",
                format!(
                    "{stray:?} can not stand in the path of a request; percent-encode it or leave it out"
                ),
            ));
        }
        for (field, duration) in [("every", self.every), ("timeout", self.timeout)] {
            if duration.is_zero() {
                return Err(Invalid::new(field, "must be above zero"));
            }
        }
        if self.timeout > self.every {
            return Err(Invalid::new(
                "timeout",
                format!(
                    "{} is longer than `every`, {}; checks of one endpoint would overlap",
                    quantity::format_duration(self.timeout),
                    quantity::format_duration(self.every)
                ),
            ));
        }
        Ok(())
    }
}

/// An endpoint went out of service or came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthChange {
    /// It passed `healthy_after` checks in a row.
    BecameHealthy,
    /// It failed `unhealthy_after` checks in a row.
    BecameUnhealthy,
}

/// One endpoint's health by its checks.
///
/// It starts healthy, so that a service serves from its first moment; an endpoint that is down then gets
/// calls until it failed `unhealthy_after` checks.
#[derive(Debug, Clone, Default)]
pub struct Health {
    unhealthy: bool,
    /// Results in a row that speak against the present state.
    contrary: u32,
}

impl Health {
    /// Learns whether a check passed, and says so when that changed the endpoint's health.
    pub fn record(&mut self, config: &HealthCheckConfig, ok: bool) -> Option<HealthChange> {
        if ok == self.is_healthy() {
            self.contrary = 0;
            return None;
        }
        self.contrary = self.contrary.saturating_add(1);
        let (enough, change) = match ok {
            true => (config.healthy_after, HealthChange::BecameHealthy),
            false => (config.unhealthy_after, HealthChange::BecameUnhealthy),
        };
        if self.contrary < enough.get() {
            return None;
        }
        *self = Self { unhealthy: !ok, contrary: 0 };
        Some(change)
    }

    /// Whether calls may go to the endpoint.
    pub fn is_healthy(&self) -> bool {
        !self.unhealthy
    }
}
