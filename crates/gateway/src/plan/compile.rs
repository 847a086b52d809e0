use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use intertie_core::config::Invalid;
use intertie_core::telemetry::Events;
use intertie_discovery::balance::Balancer;
use intertie_discovery::endpoint::EndpointConfig;
use intertie_resilience::circuit_breaker::Transition;
use intertie_resilience::retry::BudgetLimits;
use intertie_resilience::{
    Bulkhead, BulkheadConfig, CircuitBreaker, CircuitBreakerConfig, RateLimiterConfig, RetryBudget,
    RetryConfig,
};

use super::effective::{Effective, effective};
use super::endpoint::{Endpoint, EndpointState};
use super::limiter::Limiter;
use super::lint::{Report, lint};
use super::pattern::pattern;
use super::quota_policy;
use super::runtime::{LimitKey, Route, RouteLimiter, Service};
use super::transport::{Security, Transport};
use crate::config::{Problem, RouteConfig, Severity, TrafficConfig};
use crate::route::Router;
use crate::stats::RouteStats;
use crate::tls::ServiceTerms;

/// Everything that serves traffic, made from one configuration.
///
/// A plan is immutable; its parts carry shared state. The next plan takes over the parts whose settings it
/// does not change, so that a reload loses no breaker, bucket, budget or connection.
#[derive(Debug)]
pub struct Plan {
    /// The look-up; positions are those of `routes`.
    pub router: Router,
    /// All routes, by name.
    pub routes: Vec<Arc<Route>>,
    /// All services, by name.
    pub services: Vec<Arc<Service>>,
    /// The shared limiters, by name.
    pub limits: BTreeMap<String, Arc<Limiter>>,
}

impl Plan {
    /// Makes a plan, taking over state from `previous`. The report tells also what does not keep it from
    /// running. A service with TLS whose `terms` are missing is never connected to: such a plan is only
    /// looked at.
    ///
    /// # Errors
    /// The report, when it holds an error. Nothing of `previous` has changed then.
    pub fn compile(
        config: &TrafficConfig,
        terms: &ServiceTerms,
        previous: Option<&Self>,
        events: &Events,
    ) -> Result<(Self, Report), Report> {
        let mut report = lint(config);
        let router = match router(config) {
            Ok(router) => router,
            Err(problems) => {
                report.problems.extend(problems);
                report.sort();
                return Err(report);
            }
        };
        if report.problems.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(report);
        }
        match (Compiler { config, terms, previous, events }).plan(router) {
            Ok(plan) => Ok((plan, report)),
            Err(problem) => {
                report.problems.push(problem);
                Err(report)
            }
        }
    }
}

impl Plan {
    /// What services are spoken to under where that is TLS.
    pub fn service_terms(&self) -> ServiceTerms {
        ServiceTerms::collect(self.services.iter().filter_map(|service| match &service.transport.security {
            Security::Tls(terms) => Some((service.name.to_string(), Arc::clone(terms))),
            Security::Plain | Security::Unread => None,
        }))
    }

    /// The names of services that are spoken to in another way than by `previous`.
    pub fn changed_transports<'a>(&'a self, previous: &'a Self) -> impl Iterator<Item = &'a str> {
        let same = |service: &Service| {
            let known = named(&previous.services, &service.name, |service| &service.name);
            known.is_some_and(|known| known.transport.id == service.transport.id)
        };
        self.services.iter().filter(move |service| !same(service)).map(|service| &*service.name)
    }
}

/// The look-up over all routes, or what is wrong with their patterns.
fn router(config: &TrafficConfig) -> Result<Router, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut patterns = Vec::new();
    for (name, route) in &config.routes {
        match pattern(name, route) {
            Ok(pattern) => patterns.push(pattern),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let names: Vec<_> = config.routes.keys().collect();
    Router::new(patterns).map_err(|ties| {
        let problem = |tie: super::super::route::Tie| {
            let (one, other) = (names[tie.one], names[tie.other]);
            let message =
                format!("routes `{one}` and `{other}` both want `{}` with equal right", tie.example);
            Problem::error(["route", other], message)
                .and(["route", one].map(str::to_owned).to_vec())
                .help("make one of them more specific: a host, a longer path, a method, a header or a query")
        };
        ties.into_iter().map(problem).collect()
    })
}

struct Compiler<'a> {
    config: &'a TrafficConfig,
    terms: &'a ServiceTerms,
    previous: Option<&'a Plan>,
    events: &'a Events,
}

/// What the routes of one service agree on.
#[derive(Default)]
struct Shared {
    bulkhead: Option<BulkheadConfig>,
    circuit_breaker: Option<CircuitBreakerConfig>,
    budget: Option<BudgetLimits>,
}

impl Compiler<'_> {
    fn plan(&self, router: Router) -> Result<Plan, Problem> {
        let mut shared: HashMap<&str, Shared> = HashMap::new();
        for (name, route) in &self.config.routes {
            let effective = effective(self.config, name, route);
            let shared = shared.entry(&route.to).or_default();
            shared.bulkhead = shared.bulkhead.take().or(effective.bulkhead.value);
            shared.circuit_breaker = shared.circuit_breaker.take().or(effective.circuit_breaker.value);
            let budget = effective.retry.value.as_ref().map(RetryConfig::budget_limits);
            shared.budget = shared.budget.or(budget);
        }
        let mut services = Vec::new();
        for name in self.config.services.keys() {
            services.push(Arc::new(self.service(name, &shared.remove(name.as_str()).unwrap_or_default())?));
        }
        let mut limits = BTreeMap::new();
        for (name, config) in &self.config.limits {
            let known = self.previous.and_then(|previous| previous.limits.get(name));
            limits.insert(name.clone(), limiter(known, config, &["limit", name])?);
        }
        let mut routes = Vec::with_capacity(self.config.routes.len());
        for (name, route) in &self.config.routes {
            // Again, and not kept from before: of all routes at once they would be more than the plan itself.
            let effective = effective(self.config, name, route);
            routes.push(Arc::new(self.route(name, route, effective, &services, &limits)?));
        }
        Ok(Plan { router, routes, services, limits })
    }

    fn service(&self, name: &str, shared: &Shared) -> Result<Service, Problem> {
        let config = self.config.services[name].clone();
        let known = self.previous.and_then(|plan| named(&plan.services, name, |service| &service.name));
        let endpoints = config.endpoints.iter().map(|endpoint| {
            let known =
                known.and_then(|service| service.endpoints.iter().find(|known| known.address == endpoint.at));
            self.endpoint(name, endpoint, known, shared.circuit_breaker.as_ref())
        });
        let endpoints = endpoints.collect::<Result<Vec<_>, _>>()?;
        let bulkhead = match (&shared.bulkhead, known.and_then(|service| service.bulkhead.as_ref())) {
            (Some(config), Some(known)) if known.config() == config => Some(known.clone()),
            (Some(config), _) => {
                Some(Bulkhead::new(config.clone()).map_err(|invalid| refused(name, &invalid))?)
            }
            (None, _) => None,
        };
        let known_budget = known.and_then(|service| service.budget.as_ref());
        let budget = shared.budget.map(|limits| match known_budget {
            Some(known) if known.limits() == limits => known.clone(),
            _ => RetryBudget::new(limits),
        });
        let same_choice = known.filter(|known| {
            known.config.balance == config.balance && known.config.endpoints == config.endpoints
        });
        let balancer = match same_choice {
            Some(known) => Arc::clone(&known.balancer),
            None => Arc::new(Mutex::new(Balancer::new(config.balance, endpoints.len()))),
        };
        let transport = Transport::new(name, &config, self.terms, known.map(|service| &service.transport));
        Ok(Service { name: name.into(), config, transport, endpoints, balancer, bulkhead, budget })
    }

    /// The endpoint as it was before, with the same breaker if the breaker's settings are the same.
    fn endpoint(
        &self,
        service: &str,
        config: &EndpointConfig,
        known: Option<&Endpoint>,
        breaker: Option<&CircuitBreakerConfig>,
    ) -> Result<Endpoint, Problem> {
        let state = match known {
            Some(known) => Arc::clone(&known.state),
            None => Arc::new(EndpointState::new(config.at.clone())),
        };
        let known = known.and_then(|known| known.circuit_breaker.as_ref());
        let circuit_breaker = match (breaker, known) {
            (None, _) => None,
            (Some(config), Some(known)) if known.config() == config => Some(known.clone()),
            (Some(breaker), _) => {
                let (events, owner, at) = (self.events.clone(), service.to_owned(), config.at.to_string());
                let listener = move |transition: Transition| tell(&events, &owner, &at, transition);
                let breaker = CircuitBreaker::with_listener(breaker.clone(), listener);
                Some(breaker.map_err(|invalid| refused(service, &invalid))?)
            }
        };
        Ok(Endpoint { circuit_breaker, state })
    }

    fn route(
        &self,
        name: &str,
        config: &RouteConfig,
        effective: Effective,
        services: &[Arc<Service>],
        limits: &BTreeMap<String, Arc<Limiter>>,
    ) -> Result<Route, Problem> {
        let known = self.previous.and_then(|plan| named(&plan.routes, name, |route| &route.name));
        let service = named(services, &config.to, |service| &service.name)
            .ok_or_else(|| Problem::error(["route", name, "to"], "there is no such service"))?;
        let service = Arc::clone(service);
        let shared_limits = effective.limits.value.as_deref().unwrap_or_default();
        let own = usize::from(effective.rate_limiter.value.is_some());
        let mut limiters = Vec::with_capacity(own + shared_limits.len());
        if let Some(config) = &effective.rate_limiter.value {
            let known =
                known.and_then(|route| route.limiters.iter().find(|limiter| limiter.shared.is_none()));
            let limiter =
                limiter(known.map(|known| &known.limiter), config, &["route", name, "rate_limiter"])?;
            limiters.extend(route_limiter(None, limiter));
        }
        for shared in shared_limits {
            if let Some(limiter) = limits.get(shared) {
                limiters.extend(route_limiter(Some(shared.as_str().into()), Arc::clone(limiter)));
            }
        }
        let stats = known.map_or_else(|| Arc::new(RouteStats::default()), |route| Arc::clone(&route.stats));
        let matched_path = config.matches.as_ref().map(|matches| matches.path.as_deref().unwrap_or("/**"));
        Ok(Route {
            name: name.into(),
            matched_path: matched_path.map(Box::from),
            bulkhead: effective.bulkhead.value.as_ref().and(service.bulkhead.clone()),
            budget: effective.retry.value.as_ref().and(service.budget.clone()),
            settings: effective.into(),
            service,
            rate_limit_policy: quota_policy::policy(&limiters),
            limiters: limiters.into_boxed_slice(),
            stats,
        })
    }
}

/// The one of that name, of a plan's routes or services, which stand in the order of their names.
fn named<'a, T>(all: &'a [Arc<T>], name: &str, name_of: impl Fn(&T) -> &str) -> Option<&'a Arc<T>> {
    all.binary_search_by(|one| name_of(one).cmp(name)).ok().map(|at| &all[at])
}

fn route_limiter(shared: Option<Arc<str>>, limiter: Arc<Limiter>) -> Option<RouteLimiter> {
    let by = LimitKey::new(&limiter.config().by)?;
    let told_as = quota_policy::told_as(shared.as_deref());
    Some(RouteLimiter { shared, limiter, by, told_as })
}

fn limiter(
    known: Option<&Arc<Limiter>>,
    config: &RateLimiterConfig,
    at: &[&str],
) -> Result<Arc<Limiter>, Problem> {
    match known {
        Some(known) if known.config() == config => Ok(Arc::clone(known)),
        _ => Limiter::new(config.clone()).map(Arc::new).map_err(|invalid| {
            let mut problem = Problem::error([], invalid.to_string());
            problem.at = at.iter().map(|key| (*key).to_owned()).collect();
            problem
        }),
    }
}

fn refused(service: &str, invalid: &Invalid) -> Problem {
    Problem::error(["service", service], invalid.to_string())
}

fn tell(events: &Events, service: &str, endpoint: &str, transition: Transition) {
    let name = match transition.to {
        intertie_resilience::circuit_breaker::Phase::Closed => "circuit_breaker_closed",
        intertie_resilience::circuit_breaker::Phase::Open => "circuit_breaker_opened",
        intertie_resilience::circuit_breaker::Phase::HalfOpen => "circuit_breaker_half_opened",
    };
    events.tell(name, || {
        vec![
            ("service", service.to_owned()),
            ("endpoint", endpoint.to_owned()),
            ("from", transition.from.name().to_owned()),
            ("cause", transition.cause.name().to_owned()),
        ]
    });
}
