use std::fmt;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, DurationText, format_duration};
use intertie_core::rejection::Policy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BulkheadConfig, ChaosConfig, CircuitBreakerConfig, HedgeConfig, RateLimiterConfig, RetryConfig};

/// The policies of a pipeline. What is left out is not in force.
///
/// The order of the fields is the order in which they nest, outermost first, whatever the order in which
/// they are set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PipelineConfig {
    /// The longest that a call may take, with all its waits and attempts.
    #[serde(with = "quantity::duration::option")]
    #[schemars(with = "DurationText")]
    pub deadline: Option<Duration>,
    /// Calls, or attempts, per time.
    pub rate_limiter: Option<RateLimiterConfig>,
    /// Calls at the same time.
    pub bulkhead: Option<BulkheadConfig>,
    /// Further attempts after a failed one, for calls that are marked idempotent.
    pub retry: Option<RetryConfig>,
    /// Further attempts beside slow ones, for calls that are marked idempotent.
    pub hedge: Option<HedgeConfig>,
    /// When to stop calling a dependency that fails.
    pub circuit_breaker: Option<CircuitBreakerConfig>,
    /// The longest that one attempt may take; shorter than `deadline`.
    #[serde(with = "quantity::duration::option")]
    #[schemars(with = "DurationText")]
    pub attempt_timeout: Option<Duration>,
    /// Faults and latency that are injected into attempts.
    pub chaos: Option<ChaosConfig>,
}

/// A pipeline that can not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPipeline {
    /// The pipeline's name.
    pub name: String,
    /// The policy whose setting is at fault.
    pub policy: Policy,
    /// The setting, and why.
    pub invalid: Invalid,
}

impl fmt::Display for InvalidPipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pipeline `{}`, ", self.name)?;
        // A policy of one setting bears its name.
        if self.policy.name() != self.invalid.field {
            write!(f, "{}: ", self.policy)?;
        }
        self.invalid.fmt(f)
    }
}

impl std::error::Error for InvalidPipeline {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.invalid)
    }
}

impl PipelineConfig {
    /// These policies, and those of `defaults` where there are none.
    pub fn or(self, defaults: &Self) -> Self {
        Self {
            deadline: self.deadline.or(defaults.deadline),
            rate_limiter: self.rate_limiter.or_else(|| defaults.rate_limiter.clone()),
            bulkhead: self.bulkhead.or_else(|| defaults.bulkhead.clone()),
            retry: self.retry.or_else(|| defaults.retry.clone()),
            hedge: self.hedge.or_else(|| defaults.hedge.clone()),
            circuit_breaker: self.circuit_breaker.or_else(|| defaults.circuit_breaker.clone()),
            attempt_timeout: self.attempt_timeout.or(defaults.attempt_timeout),
            chaos: self.chaos.or_else(|| defaults.chaos.clone()),
        }
    }

    /// Checks that each policy can work, and all of them together.
    ///
    /// # Errors
    /// The first policy that can not.
    pub fn validate(&self) -> Result<(), (Policy, Invalid)> {
        let at = |policy: Policy| move |invalid: Invalid| (policy, invalid);
        if let Some(limiter) = &self.rate_limiter {
            limiter.validate().map_err(at(Policy::RateLimiter))?;
            if limiter.queue > 0 {
                let problem = format!(
                    "a pipeline rejects at once, and none of {} callers could wait; drop `queue`, or await \
                     `RateLimiter::acquire` before the call",
                    limiter.queue
                );
                return Err((Policy::RateLimiter, Invalid::new("queue", problem)));
            }
        }
        if let Some(bulkhead) = &self.bulkhead {
            bulkhead.validate().map_err(at(Policy::Bulkhead))?;
        }
        if let Some(retry) = &self.retry {
            retry.validate().map_err(at(Policy::Retry))?;
        }
        if let Some(breaker) = &self.circuit_breaker {
            breaker.validate().map_err(at(Policy::CircuitBreaker))?;
        }
        if let Some(hedge) = &self.hedge {
            hedge.validate().map_err(at(Policy::Hedge))?;
        }
        if let Some(chaos) = &self.chaos {
            chaos.validate().map_err(at(Policy::Chaos))?;
        }
        for (policy, field, limit) in [
            (Policy::Deadline, "deadline", self.deadline),
            (Policy::AttemptTimeout, "attempt_timeout", self.attempt_timeout),
        ] {
            if limit.is_some_and(|limit| limit.is_zero()) {
                let problem = "0s leaves no time for any call; use more than 0s";
                return Err((policy, Invalid::new(field, problem)));
            }
        }
        self.fits_in_deadline()?;
        self.hedges_fit_in_attempts()
    }

    /// An inner limit that is not below its outer one can never be met.
    fn fits_in_deadline(&self) -> Result<(), (Policy, Invalid)> {
        let Some(deadline) = self.deadline else { return Ok(()) };
        let wait = self.bulkhead.as_ref().map(|bulkhead| bulkhead.wait);
        let backoff = self.retry.as_ref().filter(|retry| retry.attempts.get() > 1).map(|retry| retry.wait(1));
        let after = self.hedge.as_ref().and_then(|hedge| hedge.after);
        for (policy, field, inner) in [
            (Policy::AttemptTimeout, "attempt_timeout", self.attempt_timeout),
            (Policy::Bulkhead, "wait", wait),
            (Policy::Retry, "base", backoff),
            (Policy::Hedge, "after", after),
        ] {
            if let Some(inner) = inner.filter(|inner| *inner >= deadline) {
                let (inner, deadline) = (format_duration(inner), format_duration(deadline));
                let problem = format!("{inner} can never be over before the deadline, {deadline}");
                return Err((policy, Invalid::new(field, problem)));
            }
        }
        Ok(())
    }

    fn hedges_fit_in_attempts(&self) -> Result<(), (Policy, Invalid)> {
        let after = self.hedge.as_ref().and_then(|hedge| hedge.after);
        match (after, self.attempt_timeout) {
            (Some(after), Some(timeout)) if after >= timeout => {
                let (after, timeout) = (format_duration(after), format_duration(timeout));
                let problem = format!("{after} can never be over before the attempt_timeout, {timeout}");
                Err((Policy::Hedge, Invalid::new("after", problem)))
            }
            _ => Ok(()),
        }
    }
}
