use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use intertie_gateway::plan::{LimitKey, Plan};
use intertie_gateway::route::{Found, Mismatch, RequestView};

use super::tally::{Outcome, Tally};
use crate::file::Loaded;

/// One of the two files, as the data plane would run it.
pub(super) struct Gate {
    pub(super) plan: Arc<Plan>,
    /// What was refused before any route.
    pub(super) unrouted: Tally,
    /// Requests whose route hangs on a header, or on a query, that their line does not hold.
    pub(super) uncertain: u64,
    has_conditions: bool,
    /// Whether some route wants a host of its own.
    pub(super) asks_host: bool,
    /// Whether some limiter tells clients apart by their address.
    pub(super) asks_client: bool,
    /// For each route, how long its service took for the last request that it answered well.
    healthy: Vec<Option<Duration>>,
}

/// What of a request the router sees.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    /// `None` when it is none that a client can send.
    pub(super) method: Option<&'a Method>,
    /// `None` when it can not be told for certain.
    pub(super) host: Option<&'a str>,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) headers: &'a HeaderMap,
    /// Whether its line would hold a query.
    pub(super) tells_query: bool,
}

impl Gate {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// What is wrong with it, ready to be printed.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let loaded = Loaded::read(path)?;
        let (plan, _) = loaded.plan_to_look_at().map_err(|report| loaded.render(&report.problems))?;
        let matches = || loaded.traffic.routes.values().filter_map(|route| route.matches.as_ref());
        let has_conditions =
            matches().any(|matches| !matches.headers.is_empty() || !matches.query.is_empty());
        let asks_host = matches().any(|matches| matches.host.is_some());
        let limiters = plan.routes.iter().flat_map(|route| &route.limiters);
        let asks_client = limiters.map(|limiter| &limiter.by).any(|by| matches!(by, LimitKey::ClientAddress));
        let healthy = vec![None; plan.routes.len()];
        Ok(Self {
            plan: Arc::new(plan),
            unrouted: Tally::default(),
            uncertain: 0,
            has_conditions,
            asks_host,
            asks_client,
            healthy,
        })
    }

    /// The position of the route that takes a request.
    ///
    /// # Errors
    /// How it is refused when none does; that is counted.
    pub(super) fn route(&mut self, seen: &Seen<'_>) -> Result<usize, Outcome> {
        self.find(seen).inspect_err(|outcome| self.unrouted.add(*outcome, 0))
    }

    fn find(&mut self, seen: &Seen<'_>) -> Result<usize, Outcome> {
        let (Some(method), Some(host)) = (seen.method, seen.host) else { return Err(Outcome::BadRequest) };
        let view = RequestView { host, path: seen.path, query: seen.query, method, headers: seen.headers };
        if self.has_conditions {
            let untold = |mismatch: &Mismatch| match mismatch {
                Mismatch::Header(_) => true,
                Mismatch::Query(_) => !seen.tells_query,
                Mismatch::Method => false,
            };
            let candidates = self.plan.router.candidates(&view);
            let mut better = candidates.iter().map_while(|candidate| candidate.mismatch.as_ref());
            self.uncertain += u64::from(better.any(untold));
        }
        match self.plan.router.find(&view) {
            Found::Route(route) => Ok(route),
            Found::OtherMethods(_) => Err(Outcome::MethodNotAllowed),
            Found::Nothing => Err(Outcome::RouteNotFound),
            Found::Ambiguous => Err(Outcome::BadRequest),
        }
    }

    /// The position of the endpoint `address` among those of the route's service.
    pub(super) fn endpoint(&self, route: usize, address: Option<&str>) -> Option<usize> {
        let mut endpoints = self.plan.routes[route].service.endpoints.iter();
        endpoints.position(|endpoint| Some(endpoint.address.as_str()) == address)
    }

    /// The limit of an attempt of `route`.
    pub(super) fn attempt_timeout(&self, route: usize) -> Option<Duration> {
        self.plan.routes[route].settings.attempt_timeout
    }

    /// How long the service of `route` took when it last answered well.
    pub(super) fn healthy(&self, route: usize) -> Option<Duration> {
        self.healthy[route]
    }

    /// The service of `route` answered well after `took`.
    pub(super) fn answered_well(&mut self, route: usize, took: Duration) {
        self.healthy[route] = Some(took);
    }

    /// `/orders/** to orders`.
    pub(super) fn label(&self, destination: Result<usize, Outcome>) -> String {
        match destination {
            Ok(route) => {
                let route = &self.plan.routes[route];
                format!("`{}` to {}", route.name, route.service.name)
            }
            Err(outcome) => outcome.to_string(),
        }
    }

    /// What of the file the log can not show.
    pub(super) fn left_out(&self) -> Vec<String> {
        let mut left_out = Vec::new();
        for limiter in self.plan.routes.iter().flat_map(|route| &route.limiters) {
            if let LimitKey::Header(name) = &limiter.by {
                left_out.push(format!("limiters by the header {name}: the log holds no headers"));
            }
            let keys_max = limiter.limiter.config().keys_max.get() as usize;
            if limiter.limiter.quotas.keys() >= keys_max {
                left_out.push(format!("which callers beyond {keys_max} a limiter forgets first"));
            }
        }
        if self.plan.routes.iter().any(|route| route.settings.body_max.is_some()) {
            left_out.push("body_max: the log does not tell how long a request's body was".to_owned());
        }
        if self.plan.services.iter().any(|service| service.config.health_check.is_some()) {
            left_out.push("health checks: every endpoint counts as healthy".to_owned());
        }
        left_out
    }
}
