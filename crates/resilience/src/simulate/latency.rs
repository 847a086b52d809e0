use std::f64::consts::TAU;
use std::time::Duration;

use fastrand::Rng;
use intertie_core::config::Invalid;
use intertie_core::quantity::{self, DurationText, Ratio, format_duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long a dependency works on a call: a distribution. Queueing comes on top.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Latency {
    /// Always the same.
    Constant(
        #[serde(with = "quantity::duration")]
        #[schemars(with = "DurationText")]
        Duration,
    ),
    /// Anything between two bounds, equally likely.
    Uniform(Uniform),
    /// The usual shape of a service's latencies: many short, few very long.
    LogNormal(LogNormal),
    /// As it was measured. Between two points it is taken to rise evenly, and below the first not to fall.
    Quantiles(Vec<Quantile>),
}

/// Anything between two bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Uniform {
    /// The least.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub from: Duration,
    /// The most.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub to: Duration,
}

/// A distribution whose logarithm is normal, given by two of its quantiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogNormal {
    /// Half of the calls take no longer.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub p50: Duration,
    /// 99 of 100 calls take no longer.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub p99: Duration,
}

/// A point of a measured distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quantile {
    /// This share of the calls …
    pub share: Ratio,
    /// … takes no longer than this.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub within: Duration,
}

/// The 99th percentile of the standard normal distribution.
const NORMAL_P99: f64 = 2.326_347_874_040_841;

/// The precision of tokio's timers.
const TICK_NANOS: u64 = 1_000_000;

impl Latency {
    /// Checks that it is a distribution.
    ///
    /// # Errors
    /// Names the value that can not be meant.
    pub fn validate(&self) -> Result<(), Invalid> {
        let invalid = |problem: String| Err(Invalid::new("latency", problem));
        match self {
            Self::Constant(_) => Ok(()),
            Self::Uniform(Uniform { from, to }) if from > to => invalid(format!(
                "`to`, {}, is below `from`, {}",
                format_duration(*to),
                format_duration(*from)
            )),
            Self::Uniform(_) => Ok(()),
            Self::LogNormal(LogNormal { p50, .. }) if p50.is_zero() => {
                invalid("a `p50` of 0s has no logarithm; use more than 0s".to_owned())
            }
            Self::LogNormal(LogNormal { p50, p99 }) if p50 > p99 => invalid(format!(
                "`p99`, {}, is below `p50`, {}",
                format_duration(*p99),
                format_duration(*p50)
            )),
            Self::LogNormal(_) => Ok(()),
            Self::Quantiles(points) => {
                let rises =
                    |pair: &[Quantile]| pair[0].share < pair[1].share && pair[0].within <= pair[1].within;
                if !points.windows(2).all(rises) {
                    return invalid("each quantile is a larger share within a longer time".to_owned());
                }
                match points.last() {
                    Some(last) if last.share == Ratio::ONE => Ok(()),
                    _ => invalid("the last quantile says within which time 100% are".to_owned()),
                }
            }
        }
    }

    /// One call's, in whole milliseconds and at least one. Two numbers are drawn for each call, whatever
    /// the distribution, so that changing it leaves all other choices as they were.
    pub(super) fn draw(&self, random: &mut Rng) -> Duration {
        let (one, other) = (random.f64(), random.f64());
        let nanos = match self {
            Self::Constant(latency) => nanos(*latency),
            Self::Uniform(Uniform { from, to }) => between(*from, *to, one),
            Self::LogNormal(LogNormal { p50, p99 }) => {
                // Box and Muller's: 1 - `one` is never 0, which has no logarithm.
                let normal = (-2.0 * (1.0 - one).ln()).sqrt() * (TAU * other).cos();
                let sigma = (nanos(*p99) / nanos(*p50)).ln() / NORMAL_P99;
                nanos(*p50) * (sigma * normal).exp()
            }
            Self::Quantiles(points) => measured(points, one),
        };
        // A float beyond the range of an integer becomes its limit.
        let ticks = (nanos / TICK_NANOS as f64).round() as u64;
        let longest = quantity::DURATION_MAX.as_millis() as u64;
        Duration::from_millis(ticks.clamp(1, longest))
    }
}

fn measured(points: &[Quantile], share: f64) -> f64 {
    let above = points.partition_point(|point| point.share.as_f64() < share);
    let Some(upper) = points.get(above).or(points.last()) else { return 0.0 };
    match above.checked_sub(1).and_then(|below| points.get(below)) {
        None => nanos(upper.within),
        Some(lower) => {
            let width = upper.share.as_f64() - lower.share.as_f64();
            between(lower.within, upper.within, (share - lower.share.as_f64()) / width)
        }
    }
}

fn between(from: Duration, to: Duration, share: f64) -> f64 {
    nanos(from) + (nanos(to) - nanos(from)) * share
}

fn nanos(duration: Duration) -> f64 {
    intertie_core::clock::nanos(duration) as f64
}
