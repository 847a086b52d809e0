//! What a file can not mean, and what it should not.
//!
//! [`limits`] looks at each route by itself, [`chains`] at the calls between services, [`transports`] at how
//! they are spoken to.

mod chains;
mod limits;
mod transports;

use std::collections::BTreeSet;

use intertie_core::config::Invalid;
use intertie_discovery::outlier::may_eject;
use intertie_resilience::RateLimiterConfig;
use intertie_resilience::rate_limiter::LimitBy;

use super::effective::effective;
use crate::config::{PolicyConfig, Problem, TrafficConfig, nearest};

/// The verdict on a configuration.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Everything that was found, errors first.
    pub problems: Vec<Problem>,
    /// How many requests one client call can become, for each service that is called.
    pub amplification: Vec<Amplification>,
}

/// The most requests that a service sees for one client call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amplification {
    /// The service.
    pub service: String,
    /// Requests per client call when every tier uses all its attempts.
    pub requests: u64,
    /// The route and the chain of calls that multiply.
    pub chain: String,
}

/// Looks at the whole configuration. Reports every problem, not only the first.
pub fn lint(config: &TrafficConfig) -> Report {
    let mut linter = Linter { config, problems: Vec::new() };
    linter.names();
    linter.values();
    linter.transports();
    let cycles = linter.cycles();
    let effective: Vec<_> =
        config.routes.iter().map(|(name, route)| (name.as_str(), effective(config, name, route))).collect();
    linter.one_state_for_each_service(&effective);
    for (name, effective) in &effective {
        linter.limits_within_limits(name, effective);
        linter.traps(name, effective);
    }
    if !cycles {
        linter.chains(&effective);
    }
    linter.unused();
    let mut report = Report { problems: linter.problems, amplification: Vec::new() };
    if !cycles {
        report.amplification = chains::amplification(config, &effective);
    }
    report.sort();
    report
}

impl Report {
    /// Errors first, then by place.
    pub(super) fn sort(&mut self) {
        self.problems.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.at.cmp(&b.at)));
        self.problems.dedup();
    }
}

struct Linter<'a> {
    config: &'a TrafficConfig,
    problems: Vec<Problem>,
}

impl Linter<'_> {
    /// Names that are used must be declared.
    fn names(&mut self) {
        let config = self.config;
        for (name, route) in &config.routes {
            self.declared(&["route", name, "to"], "service", &route.to, config.services.keys());
            if let Some(policy) = &route.uses {
                self.declared(&["route", name, "use"], "policy", policy, config.policies.keys());
            }
        }
        for (name, service) in &config.services {
            if let Some(policy) = &service.uses {
                self.declared(&["service", name, "use"], "policy", policy, config.policies.keys());
            }
            for callee in &service.calls {
                self.declared(&["service", name, "calls"], "service", callee, config.services.keys());
            }
        }
        for (section, policy) in policies(config) {
            for limit in policy.limits.iter().flatten() {
                let at: Vec<_> = section.iter().copied().chain(["limits"]).collect();
                self.declared(&at, "limit", limit, config.limits.keys());
                if policy.limits.iter().flatten().filter(|other| *other == limit).count() > 1 {
                    let mut problem = Problem::error([], format!("limit `{limit}` stands here twice"));
                    problem.at = at.into_iter().map(str::to_owned).collect();
                    self.problems.push(problem);
                }
            }
        }
    }

    fn declared<'a>(
        &mut self,
        at: &[&str],
        kind: &str,
        name: &str,
        known: impl Iterator<Item = &'a String> + Clone,
    ) {
        if known.clone().any(|known| known == name) {
            return;
        }
        let mut problem = Problem::error([], format!("there is no {kind} `{name}`"));
        problem.at = at.iter().map(|key| (*key).to_owned()).collect();
        problem.help = match nearest(name, known.map(String::as_str)) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None => Some(format!("declare it as [{kind}.{name}]")),
        };
        self.problems.push(problem);
    }

    /// Each pattern's own settings must be able to work together.
    fn values(&mut self) {
        let config = self.config;
        for (section, policy) in policies(config) {
            let mut check = |key: &str, verdict: Result<(), Invalid>| self.valid(&section, key, verdict);
            if let Some(retry) = policy.retry.as_ref().and_then(|setting| setting.as_ref()) {
                check("retry", retry.validate());
            }
            if let Some(breaker) = policy.circuit_breaker.as_ref().and_then(|setting| setting.as_ref()) {
                check("circuit_breaker", breaker.validate());
            }
            if let Some(limiter) = policy.rate_limiter.as_ref().and_then(|setting| setting.as_ref()) {
                check("rate_limiter", limiter_of_route(limiter));
            }
            if let Some(bulkhead) = policy.bulkhead.as_ref().and_then(|setting| setting.as_ref()) {
                check("bulkhead", bulkhead.validate());
            }
        }
        for (name, limit) in &config.limits {
            self.valid(&["limit"], name, limiter_of_route(limit));
        }
        for (name, service) in &config.services {
            let at = ["service", name.as_str()];
            if service.endpoints.is_empty() {
                self.problems.push(
                    Problem::error(["service", name, "endpoints"], "a service needs at least one endpoint")
                        .help("endpoints = [{ at = \"127.0.0.1:7001\" }]"),
                );
            }
            let weights: Vec<_> = service.endpoints.iter().map(|endpoint| endpoint.weight).collect();
            if let Err(invalid) = service.balance.validate(&weights) {
                self.problems.push(Problem::error(["service", name, "balance"], invalid.problem));
            }
            let mut seen = BTreeSet::new();
            for endpoint in &service.endpoints {
                if !seen.insert(endpoint.at.as_str()) {
                    let message = format!("`{}` stands here twice; give it a weight instead", endpoint.at);
                    self.problems.push(Problem::error(["service", name, "endpoints"], message));
                }
            }
            if let Some(check) = &service.health_check {
                self.valid(&at, "health_check", check.validate());
            }
            if let Some(outlier) = &service.outlier {
                self.valid(&at, "outlier", outlier.validate());
                if !may_eject(outlier, 0, service.endpoints.len()) {
                    let message = format!(
                        "max_ejected {} of {} endpoints is none: outlier never ejects here",
                        outlier.max_ejected,
                        service.endpoints.len()
                    );
                    self.problems.push(Problem::warning(["service", name, "outlier"], message));
                }
            }
        }
    }

    fn valid(&mut self, section: &[&str], key: &str, verdict: Result<(), Invalid>) {
        if let Err(invalid) = verdict {
            let named = invalid.problem.contains(invalid.field);
            let message =
                if named { invalid.problem } else { format!("`{}`: {}", invalid.field, invalid.problem) };
            let mut problem = Problem::error([], message);
            problem.at = section.iter().copied().chain([key, invalid.field]).map(str::to_owned).collect();
            self.problems.push(problem);
        }
    }

    /// What is declared and never used is a mistake, or soon will be.
    fn unused(&mut self) {
        let config = self.config;
        let used_policies: BTreeSet<_> = (config.routes.values().filter_map(|route| route.uses.as_ref()))
            .chain(config.services.values().filter_map(|service| service.uses.as_ref()))
            .collect();
        for name in config.policies.keys().filter(|name| !used_policies.contains(name)) {
            self.problems.push(Problem::warning(
                ["policy", name],
                format!("no route or service uses policy `{name}`"),
            ));
        }
        let used_limits: BTreeSet<_> =
            policies(config).flat_map(|(_, policy)| policy.limits.into_iter().flatten()).collect();
        for name in config.limits.keys().filter(|name| !used_limits.contains(*name)) {
            self.problems
                .push(Problem::warning(["limit", name], format!("no route or policy names limit `{name}`")));
        }
        let called: BTreeSet<_> = (config.routes.values().map(|route| &route.to))
            .chain(config.services.values().flat_map(|service| &service.calls))
            .collect();
        for name in config.services.keys().filter(|name| !called.contains(name)) {
            self.problems
                .push(Problem::warning(["service", name], format!("nothing calls service `{name}`")));
        }
    }
}

/// Every place that carries policy keys, by its section.
fn policies(config: &TrafficConfig) -> impl Iterator<Item = (Vec<&str>, PolicyConfig)> {
    let defaults = std::iter::once((vec!["defaults"], config.defaults.policy()));
    let named = config.policies.iter().map(|(name, policy)| (vec!["policy", name.as_str()], policy.policy()));
    let routes = config.routes.iter().map(|(name, route)| (vec!["route", name.as_str()], route.policy()));
    defaults.chain(named).chain(routes)
}

fn limiter_of_route(limiter: &RateLimiterConfig) -> Result<(), Invalid> {
    limiter.validate()?;
    header_name(&limiter.by)?;
    if limiter.queue > 0 {
        let problem = format!("{} may wait, but a route rejects at once; leave it out", limiter.queue);
        return Err(Invalid::new("queue", problem));
    }
    Ok(())
}

fn header_name(by: &LimitBy) -> Result<(), Invalid> {
    match by {
        LimitBy::Header(name) if http::HeaderName::from_bytes(name.as_bytes()).is_err() => {
            Err(Invalid::new("by", format!("`{name}` is no header name")))
        }
        _ => Ok(()),
    }
}
