use std::borrow::Cow;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Evidence;
use intertie_discovery::balance::PeakEwma;
use intertie_discovery::endpoint::Address;
use intertie_discovery::health_check::{Health, HealthChange, HealthCheckConfig};
use intertie_discovery::outlier::{Ejection, Outlier, OutlierConfig};
use intertie_resilience::CircuitBreaker;

use crate::stats::EndpointStats;

/// One endpoint as it runs, the same for all data threads: its breaker, which lives as long as the
/// breaker's settings, and everything else, which lives as long as its address is in the file.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its breaker.
    pub circuit_breaker: Option<CircuitBreaker>,
    pub(super) state: Arc<EndpointState>,
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

/// What an endpoint's address did so far.
#[derive(Debug)]
pub struct EndpointState {
    /// Tells addresses of a service apart for the life of the process; connections are kept under it.
    pub id: u64,
    /// Where it listens.
    pub address: Address,
    /// The same as it is told.
    pub shown: Arc<str>,
    /// What it did.
    pub stats: EndpointStats,
    in_flight: AtomicU32,
    latency: Mutex<PeakEwma>,
    outlier: Mutex<Outlier>,
    health: Mutex<Health>,
    /// What `health` says, to be read without its lock.
    healthy: AtomicBool,
    last_failure: Mutex<Option<LastFailure>>,
}

/// Why an endpoint was found wanting the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    /// When.
    pub at: Instant,
    /// The class of an attempt's outcome, or what a health check said.
    pub cause: Cow<'static, str>,
}

impl EndpointState {
    /// An endpoint that never failed.
    pub(super) fn new(address: Address) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            shown: address.to_string().into(),
            address,
            stats: EndpointStats::default(),
            in_flight: AtomicU32::new(0),
            latency: Mutex::default(),
            outlier: Mutex::default(),
            health: Mutex::default(),
            healthy: AtomicBool::new(true),
            last_failure: Mutex::default(),
        }
    }

    /// Exchanges under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// An exchange begins.
    pub fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// An exchange ended.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// How slow it was lately, in nanoseconds.
    pub fn latency_nanos(&self, now: Instant) -> f64 {
        lock(&self.latency).value(now)
    }

    /// An answer took `latency`.
    pub fn record_latency(&self, now: Instant, latency: Duration) {
        lock(&self.latency).observe(now, latency);
    }

    /// Notes that it failed.
    pub fn record_failure(&self, now: Instant, cause: Cow<'static, str>) {
        let mut last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(LastFailure { at: now, cause });
    }

    /// How it failed the last time, if it ever did.
    pub fn last_failure(&self) -> Option<LastFailure> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether failures in a row took it out of the choice for now.
    pub fn is_ejected(&self, now: Instant) -> bool {
        lock(&self.outlier).is_ejected(now)
    }

    /// An attempt showed `evidence`. The ejection, if that was one failure in a row too many and
    /// `may_eject`.
    pub fn record_evidence(
        &self,
        config: &OutlierConfig,
        now: Instant,
        evidence: Evidence,
        may_eject: bool,
    ) -> Option<Ejection> {
        lock(&self.outlier).record(config, now, evidence, may_eject)
    }

    /// Whether its health checks let it be used.
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// A health check passed or failed. What that changed, if anything.
    pub fn record_check(&self, config: &HealthCheckConfig, passed: bool) -> Option<HealthChange> {
        let mut health = lock(&self.health);
        let change = health.record(config, passed);
        self.healthy.store(health.is_healthy(), Ordering::Relaxed);
        change
    }

    /// Nobody checks it any more, so nobody may keep it out.
    pub fn forget_checks(&self) {
        let mut health = lock(&self.health);
        *health = Health::default();
        self.healthy.store(true, Ordering::Relaxed);
    }
}

/// A panic elsewhere leaves these values whole.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
