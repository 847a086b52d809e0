//! What happens to a request, told without sending it: by the router and the effective policies that
//! serve live traffic.

use std::time::Duration;

use http::{HeaderMap, Method};
use intertie_core::quantity::format_duration;
use intertie_resilience::bulkhead::Order;
use intertie_resilience::rate_limiter::{Algorithm, Count};

use super::compile::Plan;
use super::effective::{Effective, Sourced};
use super::runtime::Route;
use crate::config::{PolicyKey, UpgradeProtocol};
use crate::route::{Candidate, Found, RequestView};

/// The fate of one request.
#[derive(Debug)]
pub struct Explanation<'a> {
    /// What the router finds.
    pub found: Found,
    /// The route that is taken.
    pub route: Option<&'a Route>,
    /// Every route that wants this host and path, the most specific first, and what each does not like.
    pub candidates: Vec<(&'a Route, Candidate)>,
    /// Whether the request may be repeated.
    pub repeatable: bool,
}

/// Tells what `plan` does with a request.
pub fn explain<'a>(plan: &'a Plan, request: &RequestView<'_>) -> Explanation<'a> {
    let found = plan.router.find(request);
    let route = match found {
        Found::Route(index) => Some(plan.routes[index].as_ref()),
        _ => None,
    };
    let candidates = plan.router.candidates(request);
    let candidates =
        candidates.into_iter().map(|candidate| (plan.routes[candidate.route].as_ref(), candidate)).collect();
    Explanation { found, route, candidates, repeatable: is_repeatable(request.method, request.headers) }
}

fn is_repeatable(method: &Method, headers: &HeaderMap) -> bool {
    method.is_idempotent() || headers.contains_key("idempotency-key")
}

/// One effective value, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The policy's key.
    pub key: PolicyKey,
    /// The value in words.
    pub value: String,
    /// The keys that lead to it in the file; `None` for the built-in default.
    pub origin: super::Origin,
}

impl Effective {
    /// Every key with its value and origin, in the order in which the policies act.
    pub fn shown(&self) -> Vec<Shown> {
        fn show<T>(key: PolicyKey, sourced: &Sourced<T>, words: impl Fn(&T) -> String) -> Shown {
            let value = sourced.value.as_ref().map_or_else(|| "off".to_owned(), words);
            Shown { key, value, origin: sourced.origin.clone() }
        }
        let time = |limit: &Duration| format_duration(*limit);
        vec![
            show(PolicyKey::Deadline, &self.deadline, time),
            show(PolicyKey::RateLimiter, &self.rate_limiter, |limiter| {
                let burst = limiter.burst.map(|burst| format!(", burst {burst}")).unwrap_or_default();
                let algorithm = match limiter.algorithm {
                    Algorithm::TokenBucket => "token bucket",
                    Algorithm::SlidingWindow => "sliding window",
                    Algorithm::SlidingWindowLog => "sliding window log",
                    Algorithm::FixedWindow => "fixed window",
                };
                let count = match limiter.count {
                    Count::Calls => "calls",
                    Count::Attempts => "attempts",
                };
                format!("{} {count}{burst}, by {}, {algorithm}", limiter.limit, limiter.by)
            }),
            show(PolicyKey::Limits, &self.limits, |names| {
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            }),
            show(PolicyKey::Bulkhead, &self.bulkhead, |bulkhead| {
                let queue = match bulkhead.queue {
                    0 => "no queue".to_owned(),
                    queue => {
                        let wait = format_duration(bulkhead.wait);
                        let order = match bulkhead.order {
                            Order::Fifo => "",
                            Order::Lifo => ", the latest first",
                        };
                        format!("{queue} waiting for at most {wait}{order}")
                    }
                };
                let adapted = bulkhead.adaptive.as_ref().map_or(String::new(), |adaptive| {
                    format!(", from {} to {} by {}", adaptive.min, adaptive.max, adaptive.algorithm.name())
                });
                format!("{} at once{adapted}, {queue}", bulkhead.concurrent)
            }),
            show(PolicyKey::Retry, &self.retry, |retry| {
                let waits: Vec<_> =
                    (1..retry.attempts.get().min(6)).map(|n| format_duration(retry.wait(n))).collect();
                let waits =
                    if waits.is_empty() { String::new() } else { format!(", waiting {}", waits.join(", ")) };
                let at_once =
                    retry.budget_in_flight.map_or(String::new(), |most| format!(", at most {most} at once"));
                format!(
                    "{} attempts{waits} + up to {} of jitter, budget {} of calls and {} in 10s{at_once}",
                    retry.attempts, retry.jitter, retry.budget, retry.budget_minimum
                )
            }),
            show(PolicyKey::CircuitBreaker, &self.circuit_breaker, |breaker| {
                let minimum = match breaker.minimum_calls {
                    0 => String::new(),
                    calls => format!(" of at least {calls} calls"),
                };
                let mut conditions = Vec::new();
                let window = &breaker.window;
                conditions.extend(
                    breaker.failures.map(|failures| format!("{failures} failures in {window}{minimum}")),
                );
                conditions
                    .extend(breaker.failure_rate.map(|rate| format!("{rate} failures in {window}{minimum}")));
                conditions.extend(breaker.slow_call_rate.zip(breaker.slow_call_duration).map(
                    |(rate, slow)| {
                        format!("{rate} of {} or longer in {window}{minimum}", format_duration(slow))
                    },
                ));
                conditions.extend(breaker.consecutive_failures.map(|n| format!("{n} failures in a row")));
                format!(
                    "opens at {}, for {}; {} successes in a row close it",
                    conditions.join(" or "),
                    format_duration(breaker.open),
                    breaker.successes_to_close
                )
            }),
            show(PolicyKey::AttemptTimeout, &self.attempt_timeout, time),
            show(PolicyKey::ReplayBodyMax, &self.replay_body_max, ToString::to_string),
            show(PolicyKey::BodyMax, &self.body_max, ToString::to_string),
            show(PolicyKey::Upgrade, &self.upgrade, |protocols| {
                let names: Vec<_> = protocols.iter().map(UpgradeProtocol::name).collect();
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            }),
            show(PolicyKey::UpgradeIdleTimeout, &self.upgrade_idle_timeout, time),
        ]
    }
}
