use std::fmt;
use std::time::Duration;

use intertie_core::quantity::format_duration;
use intertie_core::rejection::Policy;

use super::config::PipelineConfig;
use crate::rate_limiter::Count;

/// What a pipeline does to a call, and what it can cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The pipeline's name.
    pub name: String,
    /// The policies in force, outermost first, each with what it does.
    pub policies: Vec<(Policy, String)>,
    /// Attempts that one call can cause.
    pub attempts_max: u32,
    /// The longest that one call can take, waits that the dependency asks for aside; `None` when nothing
    /// bounds it.
    pub duration_max: Option<Duration>,
    /// What is allowed and should not be.
    pub warnings: Vec<&'static str>,
}

impl Explanation {
    pub(super) fn new(name: &str, config: &PipelineConfig) -> Self {
        let time = |limit: Option<Duration>| limit.map(format_duration);
        let limiter = config.rate_limiter.as_ref();
        let limiter_at = |count| {
            let limiter = limiter.filter(|limiter| limiter.count == count)?;
            Some((Policy::RateLimiter, format!("{}, counting {}", limiter.limit, count_name(count))))
        };
        let bulkhead = config.bulkhead.as_ref().map(|bulkhead| match bulkhead.queue {
            0 => format!("{} at the same time", bulkhead.concurrent),
            queue => {
                let wait = format_duration(bulkhead.wait);
                format!("{} at the same time, {queue} wait up to {wait}", bulkhead.concurrent)
            }
        });
        let retry = config.retry.as_ref().map(|retry| {
            let at_once = retry.budget_in_flight.map(|most| format!(", {most} repetitions at the same time"));
            format!(
                "{} attempts of calls marked idempotent, within {} of the calls{}",
                retry.attempts,
                retry.budget,
                at_once.unwrap_or_default()
            )
        });
        let breaker = config
            .circuit_breaker
            .as_ref()
            .map(|breaker| format!("open for {} when it opens", format_duration(breaker.open)));
        let hedge = config.hedge.as_ref().map(|hedge| {
            let when = match (hedge.after, hedge.quantile) {
                (Some(after), None) => format_duration(after),
                (None, Some(quantile)) => quantile.to_string(),
                (Some(after), Some(quantile)) => {
                    format!("{quantile}, or {} at first", format_duration(after))
                }
                (None, None) => "never".to_owned(),
            };
            let most = hedge.attempts.get() - 1;
            format!(
                "up to {most} more beside one that is slower than {when}, within {} of the calls",
                hedge.budget
            )
        });
        let chaos = config.chaos.as_ref().map(|chaos| {
            let state = if chaos.enabled { "on" } else { "off" };
            format!("{state}: {} of the attempts fail, {} are held up", chaos.fault_rate, chaos.latency_rate)
        });
        let policies = [
            time(config.deadline).map(|limit| (Policy::Deadline, format!("{limit} for the whole call"))),
            limiter_at(Count::Calls),
            bulkhead.map(|text| (Policy::Bulkhead, text)),
            retry.map(|text| (Policy::Retry, text)),
            hedge.map(|text| (Policy::Hedge, text)),
            limiter_at(Count::Attempts),
            breaker.map(|text| (Policy::CircuitBreaker, text)),
            time(config.attempt_timeout)
                .map(|limit| (Policy::AttemptTimeout, format!("{limit} for one attempt"))),
            chaos.map(|text| (Policy::Chaos, text)),
        ];
        Self {
            name: name.to_owned(),
            policies: policies.into_iter().flatten().collect(),
            attempts_max: attempts_max(config),
            duration_max: longest(config),
            warnings: warnings(config),
        }
    }
}

pub(super) fn attempts_max(config: &PipelineConfig) -> u32 {
    let repeated = config.retry.as_ref().map_or(1, |retry| retry.attempts.get());
    let together = config.hedge.as_ref().map_or(1, |hedge| hedge.attempts.get());
    repeated.saturating_mul(together)
}

/// The longest call: every wait and every attempt at its limit, but never past the deadline.
fn longest(config: &PipelineConfig) -> Option<Duration> {
    let attempts = config.retry.as_ref().map_or(1, |retry| retry.attempts.get());
    let backoff = config.retry.as_ref().map_or(Duration::ZERO, crate::RetryConfig::longest_backoff);
    let queue = config.bulkhead.as_ref().map_or(Duration::ZERO, |bulkhead| bulkhead.wait);
    let inside = config
        .attempt_timeout
        .map(|timeout| timeout.saturating_mul(attempts).saturating_add(backoff).saturating_add(queue));
    [inside, config.deadline].into_iter().flatten().min()
}

fn warnings(config: &PipelineConfig) -> Vec<&'static str> {
    let retries = config.retry.as_ref().is_some_and(|retry| retry.attempts.get() > 1);
    let all = [
        (
            retries && config.attempt_timeout.is_none(),
            "retry without attempt_timeout: one slow attempt uses up the whole call",
        ),
        (
            config.deadline.is_none() && config.attempt_timeout.is_none(),
            "neither deadline nor attempt_timeout: a call that hangs is never given up",
        ),
        (
            config.circuit_breaker.is_some() && config.deadline.is_none() && config.attempt_timeout.is_none(),
            "circuit_breaker without a limit of time: a dependency that hangs never counts as failing",
        ),
        (
            config.chaos.as_ref().is_some_and(|chaos| chaos.enabled),
            "chaos is enabled: calls fail or wait that would not",
        ),
    ];
    all.into_iter().filter(|(applies, _)| *applies).map(|(_, warning)| warning).collect()
}

fn count_name(count: Count) -> &'static str {
    match count {
        Count::Calls => "calls",
        Count::Attempts => "attempts",
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "pipeline `{}`, outermost first", self.name)?;
        for (policy, text) in &self.policies {
            writeln!(f, "  {:<16} {text}", policy.name())?;
        }
        let duration = self.duration_max.map_or("without end".to_owned(), format_duration);
        writeln!(f, "  at worst         {} attempts, {duration}, hints aside", self.attempts_max)?;
        for warning in &self.warnings {
            writeln!(f, "  warning          {warning}")?;
        }
        Ok(())
    }
}
