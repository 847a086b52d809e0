use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use intertie_core::clock::Instant;
use intertie_discovery::balance::Balancer;
use intertie_resilience::rate_limiter::LimitBy;
use intertie_resilience::{Bulkhead, RetryBudget};

use super::endpoint::Endpoint;
use super::limiter::Limiter;
use super::settings::CallSettings;
use super::transport::Transport;
use crate::config::ServiceConfig;
use crate::stats::RouteStats;

/// One route as it runs.
#[derive(Debug)]
pub struct Route {
    /// Its name in the file.
    pub name: Arc<str>,
    /// The path that it stands for, where that is not its name.
    pub matched_path: Option<Box<str>>,
    /// What its calls are held to.
    pub settings: CallSettings,
    /// The service it leads to.
    pub service: Arc<Service>,
    /// Its own limiter and the shared ones, in the order in which they are asked.
    pub limiters: Box<[RouteLimiter]>,
    /// How `RateLimit-Policy` tells of them.
    pub rate_limit_policy: Option<String>,
    /// The route's bulkhead is its service's; a route without one in force does not queue.
    pub bulkhead: Option<Bulkhead>,
    /// The route's budget is its service's.
    pub budget: Option<RetryBudget>,
    /// What it did.
    pub stats: Arc<RouteStats>,
}

impl Route {
    /// The path that it stands for, as the file writes it.
    pub fn path(&self) -> &str {
        match &self.matched_path {
            Some(path) => path,
            None => self.name.split_once(' ').map_or(&self.name, |(_, path)| path),
        }
    }

    /// Whether a call of this route may be more than one attempt.
    pub fn repeats(&self) -> bool {
        self.settings.retry.as_ref().is_some_and(|retry| retry.attempts.get() > 1)
    }
}

/// A limiter that a route asks.
#[derive(Debug, Clone)]
pub struct RouteLimiter {
    /// `[limit.NAME]`, or `None` for the route's own.
    pub shared: Option<Arc<str>>,
    /// The quotas.
    pub limiter: Arc<Limiter>,
    /// Who shares a quota: a header is kept ready for the look-up.
    pub by: LimitKey,
    /// Its name as clients are told it.
    pub told_as: Cow<'static, str>,
}

/// Who shares a quota, ready for the look-up.
#[derive(Debug, Clone)]
pub enum LimitKey {
    /// All callers.
    All,
    /// Each client address.
    ClientAddress,
    /// Each value of this header.
    Header(http::HeaderName),
}

impl LimitKey {
    pub(super) fn new(by: &LimitBy) -> Option<Self> {
        Some(match by {
            LimitBy::All => Self::All,
            LimitBy::ClientAddress => Self::ClientAddress,
            LimitBy::Header(name) => Self::Header(http::HeaderName::from_bytes(name.as_bytes()).ok()?),
        })
    }
}

/// One service as it runs.
#[derive(Debug)]
pub struct Service {
    /// Its name in the file.
    pub name: Arc<str>,
    /// What the file says.
    pub config: ServiceConfig,
    /// How it is spoken to.
    pub transport: Arc<Transport>,
    /// Where it listens, in the order of the file.
    pub endpoints: Vec<Endpoint>,
    /// The choice among them.
    pub balancer: Arc<Mutex<Balancer>>,
    /// Calls at the same time.
    pub bulkhead: Option<Bulkhead>,
    /// What repetitions are paid from.
    pub budget: Option<RetryBudget>,
}

impl Service {
    /// Whether the endpoint is out of the choice for now because of its failures. Without `outlier` in force
    /// an earlier ejection counts for nothing.
    pub fn is_ejected(&self, endpoint: &Endpoint, at: Instant) -> bool {
        self.config.outlier.is_some() && endpoint.is_ejected(at)
    }

    /// Whether a call could go to the endpoint: it is healthy, not ejected, and its breaker, if it is asked,
    /// would admit.
    pub fn is_usable(&self, endpoint: &Endpoint, asks_breaker: bool, at: Instant) -> bool {
        let breaker = endpoint.circuit_breaker.as_ref().filter(|_| asks_breaker);
        endpoint.is_healthy()
            && !self.is_ejected(endpoint, at)
            && breaker.is_none_or(|breaker| breaker.would_admit(at))
    }

    /// How many endpoints are ejected now.
    pub fn ejected(&self, now: Instant) -> usize {
        self.endpoints.iter().filter(|endpoint| self.is_ejected(endpoint, now)).count()
    }
}
