use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use intertie_core::clock::Instant;
use intertie_discovery::balance::{Balancer, PeakEwma};
use intertie_discovery::endpoint::Address;
use intertie_discovery::health_check::Health;
use intertie_discovery::outlier::Outlier;
use intertie_resilience::rate_limiter::LimitBy;
use intertie_resilience::{Bulkhead, CircuitBreaker, RateLimiter, RetryBudget};

use super::effective::Effective;
use crate::config::{RouteConfig, ServiceConfig};
use crate::stats::{EndpointStats, RouteStats};

/// One route as it runs.
#[derive(Debug)]
pub struct Route {
    /// Its name in the file.
    pub name: Arc<str>,
    /// What the file says.
    pub config: RouteConfig,
    /// What applies to it.
    pub effective: Effective,
    /// The service it leads to.
    pub service: Arc<Service>,
    /// Its own limiter and the shared ones, in the order in which they are asked.
    pub limiters: Vec<RouteLimiter>,
    /// The route's bulkhead is its service's; a route without one in force does not queue.
    pub bulkhead: Option<Bulkhead>,
    /// The route's budget is its service's.
    pub budget: Option<RetryBudget>,
    /// What it did.
    pub stats: Arc<RouteStats>,
}

impl Route {
    /// Whether a call of this route may be more than one attempt.
    pub fn repeats(&self) -> bool {
        self.effective.retry.value.as_ref().is_some_and(|retry| retry.attempts.get() > 1)
    }
}

/// A limiter that a route asks.
#[derive(Debug, Clone)]
pub struct RouteLimiter {
    /// `[limit.NAME]`, or `None` for the route's own.
    pub shared: Option<Arc<str>>,
    /// The quotas.
    pub limiter: RateLimiter,
    /// Who shares a quota: a header is kept ready for the look-up.
    pub by: LimitKey,
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
    /// Where it listens, in the order of the file.
    pub endpoints: Vec<Endpoint>,
    /// The choice among them.
    pub balancer: Arc<Mutex<Balancer>>,
    /// Calls at the same time.
    pub bulkhead: Option<Bulkhead>,
    /// What repetitions are paid from.
    pub budget: Option<RetryBudget>,
}

/// One endpoint as it runs, the same for all data threads: its breaker, which lives as long as the
/// breaker's settings, and everything else, which lives as long as its address is in the file.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its breaker.
    pub circuit_breaker: Option<CircuitBreaker>,
    pub(super) state: Arc<EndpointState>,
}

/// What an endpoint's address did so far.
#[derive(Debug)]
pub struct EndpointState {
    /// Tells addresses of a service apart for the life of the process; connections are kept under it.
    pub id: u64,
    /// Where it listens.
    pub address: Address,
    /// Exchanges under way.
    pub in_flight: AtomicU32,
    /// How slow it was lately.
    pub latency: Mutex<PeakEwma>,
    /// Its failures in a row, and whether it is ejected.
    pub outlier: Mutex<Outlier>,
    /// What its health checks say.
    pub health: Mutex<Health>,
    /// The same, to be read without the lock.
    pub healthy: AtomicBool,
    /// What it did.
    pub stats: EndpointStats,
}

impl Endpoint {
    /// A handle on what the address did, for those who outlive a plan.
    pub fn state(&self) -> &Arc<EndpointState> {
        &self.state
    }
}

impl Deref for Endpoint {
    type Target = EndpointState;

    fn deref(&self) -> &EndpointState {
        &self.state
    }
}

impl EndpointState {
    /// An endpoint that never failed.
    pub(super) fn new(address: Address) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            address,
            in_flight: AtomicU32::new(0),
            latency: Mutex::new(PeakEwma::default()),
            outlier: Mutex::new(Outlier::default()),
            health: Mutex::new(Health::default()),
            healthy: AtomicBool::new(true),
            stats: EndpointStats::default(),
        }
    }

    /// Whether failures in a row took it out of the choice for now.
    pub fn is_ejected(&self, now: Instant) -> bool {
        self.outlier.lock().unwrap_or_else(PoisonError::into_inner).is_ejected(now)
    }
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
        endpoint.healthy.load(Ordering::Relaxed)
            && !self.is_ejected(endpoint, at)
            && breaker.is_none_or(|breaker| breaker.would_admit(at))
    }

    /// How many endpoints are ejected now.
    pub fn ejected(&self, now: Instant) -> usize {
        self.endpoints.iter().filter(|endpoint| self.is_ejected(endpoint, now)).count()
    }
}

impl Route {
    /// Whether the breakers of the service's endpoints are asked, and taught, by this route's calls.
    pub fn asks_breaker(&self) -> bool {
        self.effective.circuit_breaker.value.is_some()
    }
}
