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
    pub endpoints: Vec<Arc<Endpoint>>,
    /// The choice among them.
    pub balancer: Mutex<Balancer>,
    /// Calls at the same time.
    pub bulkhead: Option<Bulkhead>,
    /// What repetitions are paid from.
    pub budget: Option<RetryBudget>,
}

/// One endpoint as it runs, the same for all data threads.
#[derive(Debug)]
pub struct Endpoint {
    /// Tells addresses of a service apart for the life of the process; connections are kept under it.
    pub id: u64,
    /// Where it listens.
    pub address: Address,
    /// Its breaker.
    pub circuit_breaker: Option<CircuitBreaker>,
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
    /// An endpoint that never failed. It keeps the `id` that its address had before, if it had one.
    pub(super) fn new(address: Address, id: Option<u64>, circuit_breaker: Option<CircuitBreaker>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: id.unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed)),
            address,
            circuit_breaker,
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
    /// How many endpoints are ejected now.
    pub fn ejected(&self, now: Instant) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.is_ejected(now)).count()
    }
}
