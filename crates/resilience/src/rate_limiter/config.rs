use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};

use intertie_core::config::Invalid;
use intertie_core::quantity::Rate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LimitBy;

/// How many calls are admitted per time, and for whom they are counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimiterConfig {
    /// The rate that is admitted in the long run, such as "100/s".
    pub limit: Rate,
    /// Calls that a token bucket admits at once after a pause. Default: the amount of `limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<NonZeroU64>,
    /// `token_bucket` (the default), `sliding_window`, `sliding_window_log` or `fixed_window`.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// Who shares one quota: `all` (the default), each `client_address`, or each value of `header:NAME`.
    #[serde(default)]
    pub by: LimitBy,
    /// What is counted: `calls` (the default) as they come in, or `attempts` as they go out, retries
    /// included, for providers that bill each of them.
    #[serde(default)]
    pub count: Count,
    /// Callers that are remembered at the same time, 18 to 43 bytes each in a token bucket. Those beyond
    /// share one quota. Default 100,000.
    #[serde(default = "keys_max_default")]
    pub keys_max: NonZeroU32,
    /// Callers with a quota of their own instead of `limit` and `burst`, by the value that `by` tells them
    /// apart by: an address, or a header's value. They do not count against `keys_max`. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, QuotaOverride>,
    /// Permits that a thread takes at a time from a token bucket that all callers share, so that threads
    /// seldom meet: up to 8 × `lease` more than the limit are then admitted in a window. Default: none,
    /// and the limit is exact. Not together with `queue` or a `by` that tells callers apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<NonZeroU32>,
    /// Callers that may wait for their permits at the same time, in a token bucket. Default 0: nobody
    /// waits. How long each may wait is the caller's own decision. Pipelines and the server's routes refuse
    /// this key: they reject at once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub queue: u32,
}

/// What a caller gets instead of the common quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaOverride {
    /// The rate that is admitted in the long run.
    pub limit: Rate,
    /// Calls that a token bucket admits at once after a pause. Default: the amount of this `limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<NonZeroU64>,
}

/// How the rate is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// A bucket of `burst` tokens that refills at the rate.
    #[default]
    TokenBucket,
    /// At most the rate's amount in any window of its period, as estimated from two counters.
    SlidingWindow,
    /// At most the rate's amount in any window of its period, exactly, at 16 bytes for each call in it.
    SlidingWindowLog,
    /// At most the rate's amount in each period since the process began; twice as much around its edge.
    FixedWindow,
}

impl Algorithm {
    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TokenBucket => "token_bucket",
            Self::SlidingWindow => "sliding_window",
            Self::SlidingWindowLog => "sliding_window_log",
            Self::FixedWindow => "fixed_window",
        }
    }
}

/// What a limiter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    /// Calls as they come in.
    #[default]
    Calls,
    /// Attempts as they go out.
    Attempts,
}

impl RateLimiterConfig {
    /// A token bucket for all callers together.
    pub fn new(limit: Rate) -> Self {
        Self {
            limit,
            burst: None,
            algorithm: Algorithm::TokenBucket,
            by: LimitBy::All,
            count: Count::Calls,
            keys_max: keys_max_default(),
            overrides: BTreeMap::new(),
            lease: None,
            queue: 0,
        }
    }

    /// The most that is admitted at once.
    pub fn capacity(&self) -> u64 {
        self.quota().capacity()
    }

    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// Names the first setting that can not, with its value and the limit.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.quota().validate(self.algorithm)?;
        for (caller, quota) in &self.overrides {
            let of_caller = |invalid: Invalid| {
                Invalid::new("overrides", format!("`{}` of `{caller}`: {}", invalid.field, invalid.problem))
            };
            quota.validate(self.algorithm).map_err(of_caller)?;
            if !self.by.tells_apart(caller) {
                let problem =
                    format!("`{caller}` is no address, and callers are told apart by `{}`", self.by);
                return Err(Invalid::new("overrides", problem));
            }
        }
        if self.algorithm != Algorithm::TokenBucket {
            let refused = |field, why| {
                Err(Invalid::new(field, format!("{why}; use algorithm = \"token_bucket\" or leave it out")))
            };
            let name = self.algorithm.name();
            if let Some(lease) = self.lease {
                return refused("lease", format!("a {name} hands out no leases of {lease}"));
            }
            if self.queue > 0 {
                let queue = self.queue;
                return refused(
                    "queue",
                    format!("a {name} can not tell how long a queue of {queue} would wait"),
                );
            }
        }
        let Some(lease) = self.lease else { return Ok(()) };
        let refused = |why| Err(Invalid::new("lease", why));
        if self.by != LimitBy::All {
            return refused(format!("callers told apart by `{}` do not meet; leave it out", self.by));
        }
        if self.queue > 0 {
            return refused(format!(
                "a lease lets calls pass the {} that may wait; set `lease` or `queue`",
                self.queue
            ));
        }
        if u64::from(lease.get()) > self.capacity() {
            return refused(format!(
                "{lease} permits at a time are more than the burst of {}",
                self.capacity()
            ));
        }
        Ok(())
    }

    pub(super) fn quota(&self) -> QuotaOverride {
        QuotaOverride { limit: self.limit, burst: self.burst }
    }
}

impl QuotaOverride {
    pub(super) fn capacity(&self) -> u64 {
        self.burst.map_or(self.limit.amount(), NonZeroU64::get)
    }

    fn validate(&self, algorithm: Algorithm) -> Result<(), Invalid> {
        let interval = self.limit.period().as_nanos().div_ceil(u128::from(self.limit.amount()));
        if interval.saturating_mul(self.capacity().into()) > u128::from(u32::MAX) * 1_000_000_000 {
            return Err(Invalid::new(
                "burst",
                format!("a bucket of {} would take more than a century to refill", self.capacity()),
            ));
        }
        if let Some(burst) = self.burst.filter(|_| algorithm != Algorithm::TokenBucket) {
            let name = algorithm.name();
            return Err(Invalid::new(
                "burst",
                format!("a {name} has no burst of {burst}; leave it out or use algorithm = \"token_bucket\""),
            ));
        }
        let amount = self.limit.amount();
        match algorithm {
            Algorithm::SlidingWindow if amount > u32::MAX.into() => Err(Invalid::new(
                "limit",
                format!("{amount} is more than the {} to which a sliding_window counts", u32::MAX),
            )),
            Algorithm::SlidingWindowLog if amount > LOGGED_MAX => Err(Invalid::new(
                "limit",
                format!(
                    "{amount} is more than the {LOGGED_MAX} calls that a sliding_window_log remembers of each \
                     caller; use algorithm = \"sliding_window\""
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// Calls that a log remembers of one caller, at most: 160 kB.
const LOGGED_MAX: u64 = 10_000;

fn keys_max_default() -> NonZeroU32 {
    NonZeroU32::new(100_000).expect("100,000 is not zero")
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
