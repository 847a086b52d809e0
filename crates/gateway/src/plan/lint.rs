//! What a file can not mean, and what it should not.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::format_duration;
use intertie_discovery::outlier::may_eject;
use intertie_resilience::circuit_breaker::CircuitBreakerPreset;
use intertie_resilience::rate_limiter::{Count, LimitBy};
use intertie_resilience::{CircuitBreakerConfig, RateLimiterConfig, RetryConfig};

use super::compile::pattern;
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

    /// Services must not call each other in a circle. True when some do.
    fn cycles(&mut self) -> bool {
        let mut found = Vec::new();
        let mut done = BTreeSet::new();
        for start in self.config.services.keys() {
            let mut chain = Vec::new();
            if let Some(circle) = self.circle(start, &mut chain, &mut done) {
                found.push(circle);
            }
        }
        for circle in &found {
            let message = format!("calls go in a circle: {}", circle.join(" → "));
            self.problems.push(Problem::error(["service", circle[0].as_str(), "calls"], message));
        }
        !found.is_empty()
    }

    /// A circle that is reached from `name`; services that are `done` lead to none that is not yet told.
    fn circle<'a>(
        &'a self,
        name: &'a str,
        chain: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(start) = chain.iter().position(|link| *link == name) {
            return Some(chain[start..].iter().copied().chain([name]).map(str::to_owned).collect());
        }
        if !done.insert(name) {
            return None;
        }
        chain.push(name);
        let service = self.config.services.get(name);
        let circle = service
            .and_then(|service| service.calls.iter().find_map(|callee| self.circle(callee, chain, done)));
        chain.pop();
        circle
    }

    /// Bulkhead, budget and breaker belong to the service: its routes must agree on them.
    fn one_state_for_each_service(&mut self, effective: &[(&str, Effective)]) {
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
            let methods = pattern(name, config).map(|pattern| pattern.condition.methods).unwrap_or_default();
            let never = !methods.is_empty() && !methods.iter().any(http::Method::is_idempotent);
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
        let own =
            effective.rate_limiter.value.as_ref().map(|own| (place(&effective.rate_limiter.origin), own));
        let shared =
            effective.limits.value.iter().flatten().filter_map(|name| {
                Some((vec!["limit".to_owned(), name.clone()], self.config.limits.get(name)?))
            });
        for (at, limiter) in own.into_iter().chain(shared) {
            if let Some(header) = header_of_each_request(limiter) {
                let message = format!(
                    "`{header}` differs with every request, so this rate_limiter has no memory and limits nobody"
                );
                push(Problem::warning([], message), at);
            }
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
            let needs: Vec<_> = service
                .calls
                .iter()
                .map(|callee| (callee, call_limit(self.config, effective, callee)))
                .collect();
            let needed = needs.iter().map(|(_, limit)| *limit).fold(Duration::ZERO, Duration::saturating_add);
            let sum = needs.iter().map(|(callee, limit)| format!("{callee} {}", words(*limit)));
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
            let mut limits: Vec<_> = allowed.chain(own).collect();
            if limits.is_empty() {
                // Nothing routes to it: its callers go by its own policy.
                let effective = of_service(self.config, name);
                let limit = effective.attempt_timeout.value.or(effective.deadline.value);
                let origin = effective.attempt_timeout.origin.or(effective.deadline.origin);
                limits.extend(limit.map(|limit| {
                    (format!("its callers allow it {}", format_duration(limit)), (limit, origin))
                }));
            }
            let tightest = limits.into_iter().min_by_key(|(_, (limit, _))| *limit);
            if let Some((who, (limit, origin))) = tightest
                && needed >= limit
            {
                let message =
                    format!("service `{name}` may need {} for its calls ({sum}) but {who}", words(needed));
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

/// The header that tells the limiter's callers apart, if each request has another value of it.
fn header_of_each_request(limiter: &RateLimiterConfig) -> Option<&str> {
    let unique = ["x-request-id", "traceparent", "x-correlation-id", "idempotency-key"];
    match &limiter.by {
        LimitBy::Header(header) if unique.contains(&header.as_str()) => Some(header),
        _ => None,
    }
}

fn header_name(by: &LimitBy) -> Result<(), Invalid> {
    match by {
        LimitBy::Header(name) if http::HeaderName::from_bytes(name.as_bytes()).is_err() => {
            Err(Invalid::new("by", format!("`{name}` is no header name")))
        }
        _ => Ok(()),
    }
}

/// A limit, or that there is none.
fn words(limit: Duration) -> String {
    if limit == Duration::MAX { "time without limit".to_owned() } else { format_duration(limit) }
}

/// Every way in which a service may be called: under its own policy, or through one of its routes.
fn ways<'a>(
    config: &TrafficConfig,
    routes: &'a [(&str, Effective)],
    service: &str,
) -> Vec<Cow<'a, Effective>> {
    let routed = routes.iter().filter(|(route, _)| config.routes[*route].to == service);
    let own = std::iter::once(Cow::Owned(of_service(config, service)));
    own.chain(routed.map(|(_, effective)| Cow::Borrowed(effective))).collect()
}

/// The longest that one call of `service` may take, seen from its caller, whichever way it goes.
fn call_limit(config: &TrafficConfig, routes: &[(&str, Effective)], service: &str) -> Duration {
    let declared = config.services.get(service).and_then(|service| service.deadline).map(|own| own.0);
    let limits = ways(config, routes, service).into_iter().map(|way| {
        [declared, way.worst_case(), way.deadline.value].into_iter().flatten().min().unwrap_or(Duration::MAX)
    });
    limits.max().unwrap_or(Duration::MAX)
}

/// For each service the largest number of requests that one client call can become.
fn amplification(config: &TrafficConfig, routes: &[(&str, Effective)]) -> Vec<Amplification> {
    let tries = |service: &str| {
        let ways = ways(config, routes, service);
        ways.iter().map(|way| u64::from(attempts(way.retry.value.as_ref()))).max().unwrap_or(1)
    };
    let order = callers_first(config);
    let mut most: BTreeMap<String, Amplification> = BTreeMap::new();
    for (name, effective) in routes {
        let requests = u64::from(attempts(effective.retry.value.as_ref()));
        let to = config.routes[*name].to.as_str();
        let mut reached: BTreeMap<&str, (u64, String)> = BTreeMap::new();
        reached.insert(to, (requests, format!("{name} ×{requests} → {to}")));
        for caller in &order {
            let Some((requests, chain)) = reached.get(caller).cloned() else { continue };
            for callee in config.services.get(*caller).into_iter().flat_map(|service| &service.calls) {
                let tries = tries(callee);
                let more = requests.saturating_mul(tries);
                let entry = reached
                    .entry(callee.as_str())
                    .or_insert_with(|| (0, format!("{chain} ×{tries} → {callee}")));
                entry.0 = entry.0.saturating_add(more);
            }
        }
        for (service, (requests, chain)) in reached {
            if requests > most.get(service).map_or(0, |known| known.requests) {
                most.insert(
                    service.to_owned(),
                    Amplification { service: service.to_owned(), requests, chain },
                );
            }
        }
    }
    most.into_values().collect()
}

/// All services, each before those that it calls. The declared calls hold no circle.
fn callers_first(config: &TrafficConfig) -> Vec<&str> {
    fn visit<'a>(
        config: &'a TrafficConfig,
        name: &'a str,
        seen: &mut BTreeSet<&'a str>,
        order: &mut Vec<&'a str>,
    ) {
        if !seen.insert(name) {
            return;
        }
        for callee in config.services.get(name).into_iter().flat_map(|service| &service.calls) {
            visit(config, callee, seen, order);
        }
        order.push(name);
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    for name in config.services.keys() {
        visit(config, name, &mut seen, &mut order);
    }
    order.reverse();
    order
}
