use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, DurationText, Rate, Ratio, format_duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::latency::Latency;

/// The load on a dependency, what it can take, and what befalls it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SimulationConfig {
    /// The calls that arrive, such as "200/s": on average, at random, and however those before them fare.
    pub rate: Rate,
    /// The share of calls that may be repeated. Default 100%.
    #[serde(default = "all")]
    pub idempotent: Ratio,
    /// The callers among whom the calls are spread, for a rate limiter that tells callers apart. Default 1.
    #[serde(default = "one")]
    pub clients: NonZeroU32,
    /// How long the dependency works on a call, as `{ constant = "10ms" }`,
    /// `{ uniform = { from = "5ms", to = "15ms" } }`, `{ log_normal = { p50 = "10ms", p99 = "80ms" } }` or
    /// `{ quantiles = [{ share = "50%", within = "10ms" }, { share = "100%", within = "1s" }] }`.
    pub latency: Latency,
    /// The calls that the dependency works on at the same time. With the mean latency it bounds what can be
    /// served: 10 calls of 50 ms each are 200/s.
    pub capacity: NonZeroU32,
    /// The calls that wait there, first come first served; beyond them it refuses. Default 0.
    #[serde(default)]
    pub queue: u32,
    /// The share of calls that fail after their latency although nothing is wrong. Default 0%.
    #[serde(default = "none")]
    pub error_rate: Ratio,
    /// Whether the dependency stops working on a call whose caller has gone. Default false: most go on to
    /// the end, which is what keeps a system down after its outage.
    #[serde(default)]
    pub abandons_cancelled: bool,
    /// What befalls the dependency. Several may be in force at the same time.
    #[serde(default, rename = "fault", skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultConfig>,
}

/// Something that befalls the dependency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultConfig {
    /// When it begins, counted from the beginning of the simulation.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub at: Duration,
    /// How long it lasts. It ends before the simulation does.
    #[serde(rename = "for", with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub lasts: Duration,
    /// What it is: `"refuse"`, `"hang"`, `{ fail = "30%" }`, `{ slow = 10 }`, `{ capacity = 2 }` or
    /// `{ throttle = "2s" }`.
    pub effect: Effect,
}

/// What a fault does to the dependency while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nobody is there: calls under way and waiting are lost, new ones are refused at once.
    Refuse,
    /// It stands still: calls are taken, none makes progress, and all go on when it ends.
    Hang,
    /// This share of the calls that it begins to work on fails, after their latency.
    Fail(Ratio),
    /// The calls that it begins to work on take this many times as long.
    Slow(NonZeroU32),
    /// It works on no more than this many calls at the same time; those under way go on.
    Capacity(NonZeroU32),
    /// It answers each new call at once that it has no quota, and when to come back.
    Throttle(
        #[serde(with = "quantity::duration")]
        #[schemars(with = "DurationText")]
        Duration,
    ),
}

/// More calls than this are more than one looks at, and each is remembered until the report is made.
const CALLS_MAX: u128 = 5_000_000;

/// The report has a row for each second, however few calls there are.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

fn all() -> Ratio {
    Ratio::ONE
}

fn none() -> Ratio {
    Ratio::ZERO
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

impl SimulationConfig {
    /// Calls at `rate`, all of which may be repeated, to a dependency that works on `capacity` of them at
    /// the same time, queues none, and has no faults.
    pub fn new(rate: Rate, latency: Latency, capacity: NonZeroU32) -> Self {
        Self {
            rate,
            idempotent: all(),
            clients: one(),
            latency,
            capacity,
            queue: 0,
            error_rate: none(),
            abandons_cancelled: false,
            faults: Vec::new(),
        }
    }

    /// Checks that a simulation of this length can be run.
    ///
    /// # Errors
    /// Names the first setting that can not work, with its value and the limit.
    pub fn validate(&self, duration: Duration) -> Result<(), Invalid> {
        if duration.is_zero() {
            return Err(Invalid::new("duration", "0s leaves no time for any call; use more than 0s"));
        }
        if duration > DURATION_MAX {
            return Err(Invalid::new(
                "duration",
                format!(
                    "{} is above {}, the most that is simulated",
                    format_duration(duration),
                    format_duration(DURATION_MAX)
                ),
            ));
        }
        let calls = u128::from(self.rate.amount()).saturating_mul(duration.as_nanos())
            / self.rate.period().as_nanos().max(1);
        if calls > CALLS_MAX {
            return Err(Invalid::new(
                "rate",
                format!(
                    "{} for {} are {calls} calls, above {CALLS_MAX}, the most that are simulated",
                    self.rate,
                    format_duration(duration)
                ),
            ));
        }
        self.latency.validate()?;
        for (position, fault) in self.faults.iter().enumerate() {
            fault.validate(duration).map_err(|invalid| {
                Invalid::new("fault", format!("number {} has a wrong {invalid}", position + 1))
            })?;
        }
        Ok(())
    }
}

impl FaultConfig {
    /// When it is over, counted from the beginning of the simulation.
    pub fn ends(&self) -> Duration {
        self.at.saturating_add(self.lasts)
    }

    /// Checks that it shows in a simulation of this length.
    ///
    /// # Errors
    /// Names the first setting that can not work, with its value and the limit.
    pub fn validate(&self, duration: Duration) -> Result<(), Invalid> {
        if self.lasts.is_zero() {
            return Err(Invalid::new("for", "0s is over before it begins; use more than 0s"));
        }
        if self.ends() >= duration {
            return Err(Invalid::new(
                "for",
                format!(
                    "a fault at {} for {} is not over before the simulation, {}; recovery could not be seen",
                    format_duration(self.at),
                    format_duration(self.lasts),
                    format_duration(duration)
                ),
            ));
        }
        match self.effect {
            Effect::Fail(Ratio::ZERO) => Err(Invalid::new("effect", "`fail` of 0% does nothing")),
            Effect::Slow(times) if times.get() == 1 => {
                Err(Invalid::new("effect", "`slow` of 1 does nothing"))
            }
            _ => Ok(()),
        }
    }
}
