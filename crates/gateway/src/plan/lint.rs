//! What a file can not mean, and what it should not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::format_duration;
use intertie_resilience::RetryConfig;
use intertie_resilience::rate_limiter::{Count, LimitBy};

use super::effective::{Effective, Origin, effective, of_service};
use crate::config::{PolicyConfig, Problem, TrafficConfig, attempts, nearest};

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
        report.amplification = amplification(config, &effective);
    }
    report.problems.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.at.cmp(&b.at)));
    report.problems.dedup();
    report
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
                check("rate_limiter", limiter.validate().and_then(|()| header_name(&limiter.by)));
            }
            if let Some(bulkhead) = policy.bulkhead.as_ref().and_then(|setting| setting.as_ref()) {
                check("bulkhead", bulkhead.validate());
            }
        }
        for (name, limit) in &config.limits {
            self.valid(&["limit"], name, limit.validate().and_then(|()| header_name(&limit.by)));
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
            }
        }
    }

    fn valid(&mut self, section: &[&str], key: &str, verdict: Result<(), Invalid>) {
        if let Err(invalid) = verdict {
            let mut problem = Problem::error([], invalid.problem);
            problem.at = section.iter().copied().chain([key, invalid.field]).map(str::to_owned).collect();
            self.problems.push(problem);
        }
    }

    /// Services must not call each other in a circle. True when some do.
    fn cycles(&mut self) -> bool {
        let mut found = false;
        for start in self.config.services.keys() {
            let mut chain = vec![start.as_str()];
            if self.returns_to(start, &mut chain) {
                found = true;
                // Reported once, at the member that comes first by name.
                if chain.iter().min() == Some(&start.as_str()) {
                    chain.push(start);
                    let message = format!("calls go in a circle: {}", chain.join(" → "));
                    self.problems.push(Problem::error(["service", start, "calls"], message));
                }
            }
        }
        found
    }

    fn returns_to<'a>(&'a self, start: &str, chain: &mut Vec<&'a str>) -> bool {
        let Some(service) = chain.last().and_then(|name| self.config.services.get(*name)) else {
            return false;
        };
        for callee in &service.calls {
            if callee == start {
                return true;
            }
            if !chain.contains(&callee.as_str()) {
                chain.push(callee);
                if self.returns_to(start, chain) {
                    return true;
                }
                chain.pop();
            }
        }
        false
    }

    /// Bulkhead, budget and breaker belong to the service: its routes must agree on them.
    fn one_state_for_each_service(&mut self, effective: &[(&str, Effective)]) {
        type Part = (&'static str, fn(&Effective) -> (Option<String>, Origin));
        let parts: [Part; 3] = [
            ("bulkhead", |e| {
                (e.bulkhead.value.as_ref().map(|v| format!("{v:?}")), e.bulkhead.origin.clone())
            }),
            ("circuit_breaker", |e| {
                (e.circuit_breaker.value.as_ref().map(|v| format!("{v:?}")), e.circuit_breaker.origin.clone())
            }),
            ("retry budget", |e| {
                let budget = e.retry.value.as_ref().map(|v| format!("{} {}", v.budget, v.budget_minimum));
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
    fn limits_within_limits(&mut self, name: &str, effective: &Effective) {
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
        let connect = self.config.services.get(service).and_then(|service| service.connect_timeout);
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
            self.at_origin(name, &at, &effective.attempt_timeout.origin, message);
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
    fn traps(&mut self, name: &str, effective: &Effective) {
        let retry = effective.retry.value.as_ref().filter(|retry| retry.attempts.get() > 1);
        let config = &self.config.routes[name];
        let place =
            |origin: &Origin| origin.clone().unwrap_or_else(|| vec!["route".to_owned(), name.to_owned()]);
        let mut push = |mut problem: Problem, at: Vec<String>| {
            problem.at = at;
            self.problems.push(problem);
        };
        if let (Some(worst), Some(deadline)) = (effective.worst_case(), effective.deadline.value)
            && worst > deadline
        {
            let attempts = attempts(effective.retry.value.as_ref());
            let attempt = effective.attempt_timeout.value.unwrap_or_default();
            let backoff =
                effective.retry.value.as_ref().map(RetryConfig::longest_backoff).unwrap_or_default();
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
            push(Problem::warning([], message).help(help), place(&effective.deadline.origin));
        }
        if let Some(retry) = retry {
            if effective.attempt_timeout.value.is_none() {
                let message = format!(
                    "route `{name}` retries without an attempt_timeout: one slow attempt uses up the whole deadline"
                );
                push(Problem::warning([], message), place(&effective.retry.origin));
            }
            if effective.circuit_breaker.value.is_none() {
                let message =
                    format!("route `{name}` retries without a circuit_breaker: retries go on into an outage");
                push(Problem::warning([], message), place(&effective.retry.origin));
            }
            if retry.budget.as_f64() > 0.5 {
                let message = format!(
                    "route `{name}` may retry {} of its calls: in an outage that is load which the service can not shed",
                    retry.budget
                );
                let help = "10% to 20% mends single failures and spares a service in trouble";
                push(Problem::warning([], message).help(help), place(&effective.retry.origin));
            }
            let methods = config.matches.as_ref().and_then(|matches| matches.method.as_ref());
            let never = methods.is_some_and(|methods| !methods.0.iter().any(http::Method::is_idempotent));
            if never {
                let message = format!(
                    "route `{name}` takes no idempotent method: only requests with an Idempotency-Key are retried"
                );
                push(Problem::note([], message), place(&effective.retry.origin));
            }
            let counts_calls =
                effective.rate_limiter.value.as_ref().filter(|limiter| limiter.count == Count::Calls);
            if let Some(limiter) = counts_calls {
                let message = format!(
                    "the rate_limiter of route `{name}` counts calls; with {} attempts the service may see {} × {}",
                    retry.attempts, retry.attempts, limiter.limit
                );
                let help = "count = \"attempts\" for a provider that bills each attempt";
                push(Problem::note([], message).help(help), place(&effective.rate_limiter.origin));
            }
            if let (Some(bulkhead), Some(attempt)) =
                (&effective.bulkhead.value, effective.attempt_timeout.value)
                && retry.longest_backoff() > attempt
            {
                let message = format!(
                    "calls of route `{name}` hold one of {} bulkhead places during up to {} of backoff, longer than an attempt lasts",
                    bulkhead.concurrent,
                    format_duration(retry.longest_backoff())
                );
                push(
                    Problem::warning([], message).help("use a quicker backoff"),
                    place(&effective.bulkhead.origin),
                );
            }
        }
        let unique_headers = ["x-request-id", "traceparent", "x-correlation-id", "idempotency-key"];
        if let Some(limiter) = &effective.rate_limiter.value
            && let LimitBy::Header(header) = &limiter.by
            && unique_headers.contains(&header.as_str())
        {
            let message = format!(
                "`{header}` differs with every request, so this rate_limiter has no memory and limits nobody"
            );
            push(Problem::warning([], message), place(&effective.rate_limiter.origin));
        }
        if effective.deadline.value.is_none() && effective.attempt_timeout.value.is_none() {
            let message = format!("nothing limits how long a call of route `{name}` may take");
            push(Problem::warning([], message), place(&effective.deadline.origin));
        }
    }

    /// What a service needs for its own calls must fit into what its callers allow it.
    fn chains(&mut self, effective: &[(&str, Effective)]) {
        for (name, service) in &self.config.services {
            if service.calls.is_empty() {
                continue;
            }
            let needs: Vec<_> =
                service.calls.iter().map(|callee| (callee, call_limit(self.config, callee))).collect();
            let needed = needs.iter().map(|(_, limit)| *limit).fold(Duration::ZERO, Duration::saturating_add);
            let sum = needs.iter().map(|(callee, limit)| format!("{callee} {}", format_duration(*limit)));
            let sum = sum.collect::<Vec<_>>().join(" + ");
            let routed = effective.iter().filter(|(route, _)| self.config.routes[*route].to == *name);
            let allowed = routed.filter_map(|(route, effective)| {
                let limit = match (effective.attempt_timeout.value, effective.deadline.value) {
                    (Some(attempt), _) => (attempt, effective.attempt_timeout.origin.clone()),
                    (None, Some(deadline)) => (deadline, effective.deadline.origin.clone()),
                    (None, None) => return None,
                };
                Some((format!("route `{route}` allows it {}", format_duration(limit.0)), limit))
            });
            let own = service.deadline.map(|own| {
                let origin = Some(["service", name, "deadline"].map(str::to_owned).to_vec());
                (format!("its own deadline is {}", format_duration(own.0)), (own.0, origin))
            });
            let tightest = allowed.chain(own).min_by_key(|(_, (limit, _))| *limit);
            if let Some((who, (limit, origin))) = tightest
                && needed >= limit
            {
                let message = format!(
                    "service `{name}` may need {} for its calls ({sum}) but {who}",
                    format_duration(needed)
                );
                let mut problem = Problem::warning(["service", name, "calls"], message)
                    .help("give the called services shorter deadlines, or their caller a longer one");
                problem.and = origin;
                self.problems.push(problem);
            }
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
        let used_limits: BTreeSet<_> = policies(config)
            .into_iter()
            .flat_map(|(_, policy)| policy.limits.into_iter().flatten())
            .collect();
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
fn policies(config: &TrafficConfig) -> Vec<(Vec<&str>, PolicyConfig)> {
    let defaults = std::iter::once((vec!["defaults"], config.defaults.policy()));
    let named = config.policies.iter().map(|(name, policy)| (vec!["policy", name.as_str()], policy.policy()));
    let routes = config.routes.iter().map(|(name, route)| (vec!["route", name.as_str()], route.policy()));
    defaults.chain(named).chain(routes).collect()
}

fn header_name(by: &LimitBy) -> Result<(), Invalid> {
    match by {
        LimitBy::Header(name) if http::HeaderName::from_bytes(name.as_bytes()).is_err() => {
            Err(Invalid::new("by", format!("`{name}` is no header name")))
        }
        _ => Ok(()),
    }
}

/// The longest that one call of `service` may take, seen from its caller.
fn call_limit(config: &TrafficConfig, service: &str) -> Duration {
    let effective = of_service(config, service);
    let declared = config.services.get(service).and_then(|service| service.deadline).map(|own| own.0);
    [declared, effective.worst_case(), effective.deadline.value]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(Duration::MAX)
}

/// For each service the largest number of requests that one client call can become.
fn amplification(config: &TrafficConfig, effective: &[(&str, Effective)]) -> Vec<Amplification> {
    let mut most: BTreeMap<String, Amplification> = BTreeMap::new();
    for (name, effective) in effective {
        let requests = u64::from(attempts(effective.retry.value.as_ref()));
        let to = &config.routes[*name].to;
        let mut reached: BTreeMap<String, (u64, String)> = BTreeMap::new();
        spread(config, to, requests, format!("{name} ×{requests} → {to}"), &mut reached);
        for (service, (requests, chain)) in reached {
            let known = most.get(&service).map_or(0, |known| known.requests);
            if requests > known {
                most.insert(service.clone(), Amplification { service, requests, chain });
            }
        }
    }
    most.into_values().collect()
}

/// Adds the requests that reach `service` and all that it calls. The declared calls hold no circle.
fn spread(
    config: &TrafficConfig,
    service: &str,
    requests: u64,
    chain: String,
    reached: &mut BTreeMap<String, (u64, String)>,
) {
    if let Some(declared) = config.services.get(service) {
        for callee in &declared.calls {
            let tries = u64::from(attempts(of_service(config, callee).retry.value.as_ref()));
            let chain = format!("{chain} ×{tries} → {callee}");
            spread(config, callee, requests.saturating_mul(tries), chain, reached);
        }
    }
    let entry = reached.entry(service.to_owned()).or_insert((0, chain));
    entry.0 = entry.0.saturating_add(requests);
}
