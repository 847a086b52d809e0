use std::time::Duration;

use intertie_core::quantity::ByteSize;
use intertie_resilience::RetryConfig;

use super::effective::{Effective, UPGRADE_IDLE_TIMEOUT_DEFAULT};
use crate::config::UpgradeProtocol;

/// What a call of a route is held to, without where each value comes from: there is one for each route, and there
/// may be tens of thousands of routes.
#[derive(Debug)]
pub struct CallSettings {
    /// The limit of the whole call.
    pub deadline: Option<Duration>,
    /// The limit of one attempt.
    pub attempt_timeout: Option<Duration>,
    /// Repetition.
    pub retry: Option<Box<RetryConfig>>,
    /// Whether the breakers of the service's endpoints are asked, and taught.
    pub asks_breaker: bool,
    /// How much of a body is kept for repetition.
    pub replay_body_max: ByteSize,
    /// The longest body.
    pub body_max: Option<ByteSize>,
    /// The protocols that clients may switch to.
    pub upgrade: Box<[UpgradeProtocol]>,
    /// How long a switched connection may be silent.
    pub upgrade_idle_timeout: Duration,
}

impl From<Effective> for CallSettings {
    fn from(effective: Effective) -> Self {
        Self {
            deadline: effective.deadline.value,
            attempt_timeout: effective.attempt_timeout.value,
            retry: effective.retry.value.map(Box::new),
            asks_breaker: effective.circuit_breaker.value.is_some(),
            replay_body_max: effective.replay_body_max.value.unwrap_or(ByteSize::from_bytes(0)),
            body_max: effective.body_max.value,
            upgrade: effective.upgrade.value.unwrap_or_default().into_boxed_slice(),
            upgrade_idle_timeout: effective
                .upgrade_idle_timeout
                .value
                .unwrap_or(UPGRADE_IDLE_TIMEOUT_DEFAULT),
        }
    }
}
