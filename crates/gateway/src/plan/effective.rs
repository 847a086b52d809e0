use std::time::Duration;

use intertie_core::config::Setting;
use intertie_core::quantity::ByteSize;
use intertie_resilience::{BulkheadConfig, CircuitBreakerConfig, RateLimiterConfig, RetryConfig};

use crate::config::{PolicyConfig, PolicyKey, RouteConfig, TrafficConfig, UpgradeProtocol};

/// Where a value comes from: the keys that lead to it in the file, or nothing for the built-in default.
pub type Origin = Option<Vec<String>>;

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourced<T> {
    /// The value in force, `None` when nothing is.
    pub value: Option<T>,
    /// Where it comes from.
    pub origin: Origin,
}

/// What applies to one route after the inheritance chain: defaults, the service's policy, the route's
/// policy, the route's own keys. A key replaces the same key further up as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The limit of the whole call. The built-in default is 30 s, S4's longest API call.
    pub deadline: Sourced<Duration>,
    /// The limit of one attempt.
    pub attempt_timeout: Sourced<Duration>,
    /// Repetition.
    pub retry: Sourced<RetryConfig>,
    /// Each endpoint's breaker.
    pub circuit_breaker: Sourced<CircuitBreakerConfig>,
    /// The route's own limiter.
    pub rate_limiter: Sourced<RateLimiterConfig>,
    /// Shared limiters.
    pub limits: Sourced<Vec<String>>,
    /// The service's bulkhead.
    pub bulkhead: Sourced<BulkheadConfig>,
    /// How much of a body is kept for repetition.
    pub replay_body_max: Sourced<ByteSize>,
    /// The longest body.
    pub body_max: Sourced<ByteSize>,
    /// The protocols that clients may switch to; always set.
    pub upgrade: Sourced<Vec<UpgradeProtocol>>,
    /// How long a switched connection may be silent; always set.
    pub upgrade_idle_timeout: Sourced<Duration>,
}

/// S4: "API calls: 30 seconds maximum".
const DEADLINE_DEFAULT: Duration = Duration::from_secs(30);

/// Longer than the pings of any usual client or service are apart.
pub(super) const UPGRADE_IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);

const REPLAY_BODY_MAX_DEFAULT: ByteSize = ByteSize::from_bytes(64 * 1024);

impl Effective {
    fn built_in() -> Self {
        fn unset<T>() -> Sourced<T> {
            Sourced { value: None, origin: None }
        }
        Self {
            deadline: Sourced { value: Some(DEADLINE_DEFAULT), origin: None },
            attempt_timeout: unset(),
            retry: unset(),
            circuit_breaker: unset(),
            rate_limiter: unset(),
            limits: unset(),
            bulkhead: unset(),
            replay_body_max: Sourced { value: Some(REPLAY_BODY_MAX_DEFAULT), origin: None },
            body_max: unset(),
            upgrade: Sourced { value: Some(vec![UpgradeProtocol::websocket()]), origin: None },
            upgrade_idle_timeout: Sourced { value: Some(UPGRADE_IDLE_TIMEOUT_DEFAULT), origin: None },
        }
    }

    /// Lets the keys that `policy` sets, found at `section` in the file, win over what is here.
    fn overlay(&mut self, section: &[&str], policy: PolicyConfig) {
        let origin = |key: PolicyKey| {
            Some(section.iter().copied().chain([key.name()]).map(str::to_owned).collect::<Vec<_>>())
        };
        fn replace<T>(target: &mut Sourced<T>, setting: Option<Setting<T>>, origin: Origin) {
            if let Some(setting) = setting {
                let value = match setting {
                    Setting::Off => None,
                    Setting::On(value) => Some(value),
                };
                *target = Sourced { value, origin };
            }
        }
        let time = |setting: Option<Setting<crate::config::Time>>| {
            setting.map(|setting| match setting {
                Setting::Off => Setting::Off,
                Setting::On(time) => Setting::On(time.0),
            })
        };
        replace(&mut self.deadline, time(policy.deadline), origin(PolicyKey::Deadline));
        replace(&mut self.attempt_timeout, time(policy.attempt_timeout), origin(PolicyKey::AttemptTimeout));
        replace(&mut self.retry, policy.retry, origin(PolicyKey::Retry));
        replace(&mut self.circuit_breaker, policy.circuit_breaker, origin(PolicyKey::CircuitBreaker));
        replace(&mut self.rate_limiter, policy.rate_limiter, origin(PolicyKey::RateLimiter));
        replace(&mut self.limits, policy.limits.map(Setting::On), origin(PolicyKey::Limits));
        replace(&mut self.bulkhead, policy.bulkhead, origin(PolicyKey::Bulkhead));
        let replay_body_max = policy.replay_body_max.map(Setting::On);
        replace(&mut self.replay_body_max, replay_body_max, origin(PolicyKey::ReplayBodyMax));
        replace(&mut self.body_max, policy.body_max, origin(PolicyKey::BodyMax));
        replace(&mut self.upgrade, policy.upgrade.map(Setting::On), origin(PolicyKey::Upgrade));
        let idle = policy.upgrade_idle_timeout.map(Setting::On);
        replace(&mut self.upgrade_idle_timeout, time(idle), origin(PolicyKey::UpgradeIdleTimeout));
    }

    /// The longest that a call can take by its attempts, backoffs and queueing, when every one of them
    /// takes as long as it may; `None` when nothing bounds an attempt. Hints of a dependency come on top.
    pub fn worst_case(&self) -> Option<Duration> {
        let attempts = crate::config::attempts(self.retry.value.as_ref());
        let attempt = self.attempt_timeout.value?;
        let backoff = self.retry.value.as_ref().map(RetryConfig::longest_backoff).unwrap_or_default();
        let queue = self.bulkhead.value.as_ref().map(|bulkhead| bulkhead.wait).unwrap_or_default();
        Some(attempt.saturating_mul(attempts).saturating_add(backoff).saturating_add(queue))
    }
}

/// What applies to `route`. Names that are not declared contribute nothing; [`super::lint()`] reports them.
pub fn effective(config: &TrafficConfig, name: &str, route: &RouteConfig) -> Effective {
    let mut effective = of_service(config, &route.to);
    if let Some(policy) = &route.uses
        && let Some(found) = config.policies.get(policy)
    {
        effective.overlay(&["policy", policy], found.policy());
    }
    effective.overlay(&["route", name], route.policy());
    if let Some(cap) = config.services.get(&route.to).and_then(|service| service.deadline)
        && effective.deadline.value.is_none_or(|deadline| cap.0 < deadline)
    {
        let origin = ["service", &route.to, "deadline"].map(str::to_owned).to_vec();
        effective.deadline = Sourced { value: Some(cap.0), origin: Some(origin) };
    }
    effective
}

/// What applies to every call of the service `name`: defaults and its own policy.
pub(super) fn of_service(config: &TrafficConfig, name: &str) -> Effective {
    let mut effective = Effective::built_in();
    effective.overlay(&["defaults"], config.defaults.policy());
    if let Some(policy) = config.services.get(name).and_then(|service| service.uses.as_ref())
        && let Some(found) = config.policies.get(policy)
    {
        effective.overlay(&["policy", policy], found.policy());
    }
    effective
}
