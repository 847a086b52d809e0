use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::config::Setting;
use intertie_core::quantity::{self, ByteSize};
use intertie_resilience::{BulkheadConfig, CircuitBreakerConfig, RateLimiterConfig, RetryConfig};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// A length of time above zero: `"5s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let duration = quantity::duration::deserialize(deserializer)?;
        if duration.is_zero() {
            return Err(de::Error::custom(
                "0s leaves no time at all; leave the key out, or switch an inherited limit \"off\"",
            ));
        }
        Ok(Self(duration))
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["250ms", "30s", "5min"] })
    }
}

/// Declares the policy keys once, for the structs that carry them: `[defaults]`, `[policy.NAME]` and
/// `[route."…"]`.
macro_rules! with_policy_keys {
    ($(#[$meta:meta])* pub struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        pub struct $name {
            $($own)*
            /// The longest that a whole call may take, queueing, retries and the answer's body included.
            /// A caller that allows less gets less. `"off"` for streams without an end.
            pub deadline: Option<Setting<$crate::config::policy::Time>>,
            /// The longest that one attempt may take until the head of the answer is there. Must be
            /// shorter than `deadline`.
            pub attempt_timeout: Option<Setting<$crate::config::policy::Time>>,
            /// Repetition of failed attempts: a preset (`standard`, `quick`, `patient`, `short`) or a
            /// table. Only idempotent methods and requests with an `Idempotency-Key` are repeated,
            /// and attempts of which the service got nothing.
            pub retry: Option<Setting<RetryConfig>>,
            /// When an endpoint's failures take it out of use: a preset (`standard`,
            /// `sensitive`, `tolerant`) or a table. Its state belongs to the endpoint.
            pub circuit_breaker: Option<Setting<CircuitBreakerConfig>>,
            /// Calls per time, counted for each route.
            pub rate_limiter: Option<Setting<RateLimiterConfig>>,
            /// Names of `[limit.NAME]` tables whose quotas are shared with other routes.
            pub limits: Option<Vec<String>>,
            /// Calls at the same time. Its state belongs to the service.
            pub bulkhead: Option<Setting<BulkheadConfig>>,
            /// How much of a request's body is kept so that a retry can send it again; a longer one is
            /// sent once. Default "64KiB".
            pub replay_body_max: Option<ByteSize>,
            /// The longest request body; a longer one is answered 413. Default: no limit.
            pub body_max: Option<Setting<ByteSize>>,
            /// The protocols that clients may switch to by `Upgrade`, such as WebSocket. HTTP itself is
            /// never among them. Default: `["websocket"]`; `[]` for none.
            pub upgrade: Option<Vec<$crate::config::UpgradeProtocol>>,
            /// How long a switched connection may go without a byte in either direction. Then it is
            /// closed on both sides. Default "5min".
            pub upgrade_idle_timeout: Option<$crate::config::policy::Time>,
        }

        impl $name {
            /// The policy keys as they stand here, unset ones included.
            pub fn policy(&self) -> $crate::config::PolicyConfig {
                $crate::config::PolicyConfig {
                    deadline: self.deadline,
                    attempt_timeout: self.attempt_timeout,
                    retry: self.retry.clone(),
                    circuit_breaker: self.circuit_breaker.clone(),
                    rate_limiter: self.rate_limiter.clone(),
                    limits: self.limits.clone(),
                    bulkhead: self.bulkhead.clone(),
                    replay_body_max: self.replay_body_max,
                    body_max: self.body_max,
                    upgrade: self.upgrade.clone(),
                    upgrade_idle_timeout: self.upgrade_idle_timeout,
                }
            }
        }
    };
}
pub(super) use with_policy_keys;

with_policy_keys! {
    /// `[defaults]` or `[policy.NAME]`: a template. State never belongs to it.
    #[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    #[schemars(rename = "Policy")]
    pub struct PolicyConfig {}
}

/// The keys of a policy, in the order in which they act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyKey {
    /// `deadline`
    Deadline,
    /// `rate_limiter`
    RateLimiter,
    /// `limits`
    Limits,
    /// `bulkhead`
    Bulkhead,
    /// `retry`
    Retry,
    /// `circuit_breaker`
    CircuitBreaker,
    /// `attempt_timeout`
    AttemptTimeout,
    /// `replay_body_max`
    ReplayBodyMax,
    /// `body_max`
    BodyMax,
    /// `upgrade`
    Upgrade,
    /// `upgrade_idle_timeout`
    UpgradeIdleTimeout,
}

impl PolicyKey {
    /// The key as files spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::RateLimiter => "rate_limiter",
            Self::Limits => "limits",
            Self::Bulkhead => "bulkhead",
            Self::Retry => "retry",
            Self::CircuitBreaker => "circuit_breaker",
            Self::AttemptTimeout => "attempt_timeout",
            Self::ReplayBodyMax => "replay_body_max",
            Self::BodyMax => "body_max",
            Self::Upgrade => "upgrade",
            Self::UpgradeIdleTimeout => "upgrade_idle_timeout",
        }
    }
}

/// Attempts of a call under `retry`: one without it.
pub(crate) fn attempts(retry: Option<&RetryConfig>) -> u32 {
    retry.map_or(1, |retry| NonZeroU32::get(retry.attempts))
}
