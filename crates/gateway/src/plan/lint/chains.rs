//! The calls between services: circles, time, and how they multiply.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use intertie_core::quantity::format_duration;

use super::{Amplification, Linter};
use crate::config::{Problem, TrafficConfig, attempts};
use crate::plan::effective::{Effective, of_service};

impl Linter<'_> {
    /// Services must not call each other in a circle. True when some do.
    pub(super) fn cycles(&mut self) -> bool {
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

    /// What a service needs for its own calls must fit into what its callers allow it.
    pub(super) fn chains(&mut self, effective: &[(&str, Effective)]) {
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
pub(super) fn amplification(config: &TrafficConfig, routes: &[(&str, Effective)]) -> Vec<Amplification> {
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
