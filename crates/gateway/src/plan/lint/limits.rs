//! One route by itself: limits that can never fire, and the traps of composing policies.

use std::collections::BTreeMap;

use intertie_core::quantity::format_duration;
use intertie_resilience::circuit_breaker::CircuitBreakerPreset;
use intertie_resilience::rate_limiter::{Count, LimitBy};
use intertie_resilience::{CircuitBreakerConfig, RateLimiterConfig, RetryConfig};

use super::Linter;
use crate::config::{Problem, attempts};
use crate::plan::effective::{Effective, Origin};
use crate::plan::pattern::pattern;

impl Linter<'_> {
    /// Bulkhead, budget and breaker belong to the service: its routes must agree on them.
    pub(super) fn one_state_for_each_service(&mut self, effective: &[(&str, Effective)]) {
        type Part = (&'static str, fn(&Effective) -> (Option<String>, Origin));
        let parts: [Part; 3] = [
            ("bulkhead", |e| {
                (e.bulkhead.value.as_ref().map(|v| format!("{v:?}")), e.bulkhead.origin.clone())
            }),
            ("circuit_breaker", |e| {
                // Two presets with equal values are equal.
                let comparable = |v: &CircuitBreakerConfig| CircuitBreakerConfig {
                    preset: CircuitBreakerPreset::Standard,
                    ..v.clone()
                };
                let value = e.circuit_breaker.value.as_ref().map(|v| format!("{:?}", comparable(v)));
                (value, e.circuit_breaker.origin.clone())
            }),
            ("retry budget", |e| {
                let budget = e.retry.value.as_ref().map(|v| format!("{:?}", v.budget_limits()));
                (budget, e.retry.origin.clone())
            }),
        ];
        for (what, part) in parts {
            let mut first: BTreeMap<&str, (String, Origin)> = BTreeMap::new();
            for (name, effective) in effective {
                let (Some(value), origin) = part(effective) else { continue };
                let service = self.config.routes[*name].to.as_str();
                match first.get(service) {
                    None => {
                        first.insert(service, (value, origin));
                    }
                    Some((known, _)) if *known == value => {}
                    Some((_, known_origin)) => {
                        let message = format!(
                            "the {what} belongs to service `{service}`, and its routes give it two different values"
                        );
                        let mut problem = Problem::error([], message)
                            .help(format!("let both routes use the same policy, or set it once by `use` in [service.{service}]"));
                        problem.at = origin.unwrap_or_else(|| vec!["route".to_owned(), (*name).to_owned()]);
                        problem.and = known_origin.clone();
                        self.problems.push(problem);
                    }
                }
            }
        }
    }

    /// An inner limit that is not shorter than its outer one can never fire.
    pub(super) fn limits_within_limits(&mut self, name: &str, effective: &Effective) {
        let Some(deadline) = effective.deadline.value else { return self.connect_timeout(name, effective) };
        let outer = format_duration(deadline);
        if let Some(attempt) = effective.attempt_timeout.value
            && attempt >= deadline
        {
            let message = format!(
                "an attempt_timeout of {} can never fire: the deadline of route `{name}` ends the call after {outer}",
                format_duration(attempt)
            );
            self.at_origin(name, &effective.attempt_timeout.origin, &effective.deadline.origin, message);
        }
        if let Some(bulkhead) = &effective.bulkhead.value
            && bulkhead.wait >= deadline
        {
            let message = format!(
                "a bulkhead wait of {} can never end: the deadline of route `{name}` ends the call after {outer}",
                format_duration(bulkhead.wait)
            );
            self.at_origin(name, &effective.bulkhead.origin, &effective.deadline.origin, message);
        }
        self.connect_timeout(name, effective);
    }

    fn connect_timeout(&mut self, name: &str, effective: &Effective) {
        let service = &self.config.routes[name].to;
        let connect =
            self.config.services.get(service).and_then(|service| service.connect_timeout).map(|time| time.0);
        let attempt = effective.attempt_timeout.value.or(effective.deadline.value);
        if let (Some(connect), Some(attempt)) = (connect, attempt)
            && connect >= attempt
        {
            let message = format!(
                "a connect_timeout of {} can never fire: an attempt of route `{name}` ends after {}",
                format_duration(connect),
                format_duration(attempt)
            );
            let at = Some(["service", service, "connect_timeout"].map(str::to_owned).to_vec());
            let outer = effective.attempt_timeout.value.map(|_| &effective.attempt_timeout.origin);
            self.at_origin(name, &at, outer.unwrap_or(&effective.deadline.origin), message);
        }
    }

    fn at_origin(&mut self, route: &str, at: &Origin, and: &Origin, message: String) {
        let mut problem = Problem::error(["route", route], message);
        if let Some(at) = at {
            problem.at.clone_from(at);
        }
        problem.and.clone_from(and);
        self.problems.push(problem);
    }

    /// The ways to compose policies wrongly that a file can still take, whatever their canonical order.
    pub(super) fn traps(&mut self, name: &str, effective: &Effective) {
        let mut found = Vec::new();
        found.extend(too_slow(name, effective));
        if let Some(retry) = effective.retry.value.as_ref().filter(|retry| retry.attempts.get() > 1) {
            self.retry_traps(name, effective, retry, &mut found);
        }
        let own =
            effective.rate_limiter.value.as_ref().map(|own| (effective.rate_limiter.origin.clone(), own));
        let shared = effective.limits.value.iter().flatten().filter_map(|name| {
            Some((Some(vec!["limit".to_owned(), name.clone()]), self.config.limits.get(name)?))
        });
        for (at, limiter) in own.into_iter().chain(shared) {
            if let Some(header) = header_of_each_request(limiter) {
                let message = format!(
                    "`{header}` differs with every request, so this rate_limiter has no memory and limits nobody"
                );
                found.push((Problem::warning([], message), at));
            }
        }
        if effective.deadline.value.is_none() && effective.attempt_timeout.value.is_none() {
            let message = format!("nothing limits how long a call of route `{name}` may take");
            found.push((Problem::warning([], message), effective.deadline.origin.clone()));
        }
        for (mut problem, origin) in found {
            problem.at = origin.unwrap_or_else(|| vec!["route".to_owned(), name.to_owned()]);
            self.problems.push(problem);
        }
    }

    fn retry_traps(&self, name: &str, effective: &Effective, retry: &RetryConfig, found: &mut Vec<Found>) {
        let origin = &effective.retry.origin;
        if effective.attempt_timeout.value.is_none() {
            let message = format!(
                "route `{name}` retries without an attempt_timeout: one slow attempt uses up the whole deadline"
            );
            found.push((Problem::warning([], message), origin.clone()));
        }
        if effective.circuit_breaker.value.is_none() {
            let message =
                format!("route `{name}` retries without a circuit_breaker: retries go on into an outage");
            found.push((Problem::warning([], message), origin.clone()));
        }
        if retry.budget.as_f64() > 0.5 {
            let message = format!(
                "route `{name}` may retry {} of its calls: in an outage that is load which the service can not shed",
                retry.budget
            );
            let help = "10% to 20% mends single failures and spares a service in trouble";
            found.push((Problem::warning([], message).help(help), origin.clone()));
        }
        let methods = pattern(name, &self.config.routes[name]).map(|pattern| pattern.condition.methods);
        let methods = methods.unwrap_or_default();
        // A tunnel that could not be opened is always tried again.
        let sends_none_again =
            |method: &http::Method| !method.is_idempotent() && *method != http::Method::CONNECT;
        if !methods.is_empty() && methods.iter().all(sends_none_again) {
            let message = format!(
                "route `{name}` takes no idempotent method: only requests with an Idempotency-Key are retried"
            );
            found.push((Problem::note([], message), origin.clone()));
        }
        if let Some(limiter) = effective.rate_limiter.value.as_ref().filter(|own| own.count == Count::Calls) {
            let message = format!(
                "the rate_limiter of route `{name}` counts calls; with {} attempts the service may see {} × {}",
                retry.attempts, retry.attempts, limiter.limit
            );
            let help = "count = \"attempts\" for a provider that bills each attempt";
            found.push((Problem::note([], message).help(help), effective.rate_limiter.origin.clone()));
        }
        if let (Some(bulkhead), Some(attempt)) = (&effective.bulkhead.value, effective.attempt_timeout.value)
            && retry.longest_backoff() > attempt
        {
            let message = format!(
                "calls of route `{name}` hold one of {} bulkhead places during up to {} of backoff, longer than an attempt lasts",
                bulkhead.concurrent,
                format_duration(retry.longest_backoff())
            );
            let problem = Problem::warning([], message).help("use a quicker backoff");
            found.push((problem, effective.bulkhead.origin.clone()));
        }
    }
}

/// A problem and the origin of the value that it is about.
type Found = (Problem, Origin);

/// The worst case of a call beside its deadline.
fn too_slow(name: &str, effective: &Effective) -> Option<Found> {
    let (worst, deadline) = (effective.worst_case()?, effective.deadline.value?);
    if worst <= deadline {
        return None;
    }
    let attempts = attempts(effective.retry.value.as_ref());
    let attempt = effective.attempt_timeout.value.unwrap_or_default();
    let backoff = effective.retry.value.as_ref().map(RetryConfig::longest_backoff).unwrap_or_default();
    let wait = effective.bulkhead.value.as_ref().map(|bulkhead| bulkhead.wait).unwrap_or_default();
    let message = format!(
        "route `{name}` may need {} but its deadline is {}: {attempts} × {} + {} of backoff + {} in the queue",
        format_duration(worst),
        format_duration(deadline),
        format_duration(attempt),
        format_duration(backoff),
        format_duration(wait),
    );
    let help = "shorten attempt_timeout, allow fewer attempts, or lengthen the deadline";
    Some((Problem::warning([], message).help(help), effective.deadline.origin.clone()))
}

/// The header that tells the limiter's callers apart, if each request has another value of it.
fn header_of_each_request(limiter: &RateLimiterConfig) -> Option<&str> {
    let unique = ["x-request-id", "traceparent", "x-correlation-id", "idempotency-key"];
    match &limiter.by {
        LimitBy::Header(header) if unique.contains(&header.as_str()) => Some(header),
        _ => None,
    }
}
