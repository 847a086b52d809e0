use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::config::Invalid;
use intertie_core::rejection::{Policy, Rejection};
use tokio::sync::watch;

use super::config::RateLimiterConfig;
use super::limit::Decision;
use super::quotas::Quotas;
use super::status::{Status, StatusBoard};
use crate::striped::StripedCounters;

/// A shared rate limiter. Clones are handles on the same quotas.
///
/// # Example
/// ```
/// use intertie_resilience::{MonotonicClock, RateLimiter, RateLimiterConfig};
///
/// let limiter = RateLimiter::new(RateLimiterConfig::new("2/s".parse()?))?;
/// let now = MonotonicClock::now();
/// assert!(limiter.try_acquire("alice", now, 1).is_ok());
/// assert!(limiter.try_acquire("alice", now, 1).is_ok());
/// let rejection = limiter.try_acquire("alice", now, 1).expect_err("two per second");
/// assert_eq!(rejection.retry_after.map(|wait| wait.as_millis()), Some(500));
/// assert!(limiter.try_acquire("bob", now, 1).is_ok(), "another key, another quota");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RateLimiter {
    pub(super) shared: Arc<Shared>,
}

/// The quotas, who waits for them, and what is told of them.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) quotas: Quotas,
    pub(super) waiting: AtomicU32,
    counters: StripedCounters<2>,
    status: StatusBoard,
}

const ADMITTED: usize = 0;
const REJECTED: usize = 1;

/// What is left of a caller's quota after a call was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Calls that would be admitted at once.
    pub remaining: u64,
    /// The time until the whole quota is back.
    pub reset: Duration,
}

/// What a limiter did since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Calls let through.
    pub admitted: u64,
    /// Calls rejected.
    pub rejected: u64,
    /// Callers remembered, among them idle ones that no other took the place of yet.
    pub keys: usize,
    /// Calls that wait now.
    pub waiting: u32,
}

impl RateLimiter {
    /// A limiter with full quotas.
    ///
    /// # Errors
    /// When the settings can not work together.
    pub fn new(config: RateLimiterConfig) -> Result<Self, Invalid> {
        Ok(Self {
            shared: Arc::new(Shared {
                quotas: Quotas::new(config)?,
                waiting: AtomicU32::new(0),
                counters: StripedCounters::default(),
                status: StatusBoard::default(),
            }),
        })
    }

    /// The options in force.
    pub fn config(&self) -> &RateLimiterConfig {
        self.shared.quotas.config()
    }

    /// Takes `cost` permits from the quota of `key`, now or not at all.
    ///
    /// The key `()`, as every key that hashes no bytes, stands for all callers together and is the
    /// fastest. Where the settings name callers in `overrides`, their keys are an
    /// [`IpAddr`](std::net::IpAddr) with `by = "client_address"`, an `Option<&[u8]>` with
    /// `by = "header:NAME"`, and otherwise a `&str`.
    ///
    /// # Errors
    /// A [`Rejection`] with the time after which the same call can succeed; without one when `cost` is
    /// above what can ever be admitted at once.
    #[inline]
    pub fn try_acquire(&self, key: impl Hash, now: Instant, cost: u64) -> Result<Quota, Rejection> {
        self.try_acquire_hashed(self.hash(key), now, cost)
    }

    /// The key as [`RateLimiter::try_acquire_hashed`] takes it.
    pub(crate) fn hash(&self, key: impl Hash) -> Option<u64> {
        self.shared.quotas.hash(key)
    }

    /// As [`RateLimiter::try_acquire`].
    #[inline]
    pub(crate) fn try_acquire_hashed(
        &self,
        key: Option<u64>,
        now: Instant,
        cost: u64,
    ) -> Result<Quota, Rejection> {
        let (decision, _) = self.shared.quotas.engine.decide(key, now, cost);
        self.shared.conclude(decision, now)
    }

    /// Subscribes to the edges between admitting and rejecting.
    ///
    /// The limiter is *rejecting* from the first call that it turns away for want of permits, whoever
    /// made it, and *admitting* again from the first call that it lets through after all that were turned
    /// away could have come back. The channel holds the latest status only, so a slow subscriber misses
    /// edges but never the present state. A limiter without subscribers keeps no status: a subscriber sees
    /// `Admitting` until the next rejection.
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    /// What the limiter did so far.
    pub fn stats(&self) -> Stats {
        Stats {
            admitted: self.shared.counters.sum(ADMITTED),
            rejected: self.shared.counters.sum(REJECTED),
            keys: self.shared.quotas.keys(),
            waiting: self.shared.waiting.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    /// Counts and tells a decision, and answers the caller with it.
    #[inline]
    pub(super) fn conclude(&self, decision: Decision, now: Instant) -> Result<Quota, Rejection> {
        match decision {
            Decision::Admitted { .. } => {
                self.status.admitted(now);
                self.counters.increment(ADMITTED);
            }
            Decision::Rejected { retry_after } => self.rejected(retry_after, now),
        }
        decision.answer()
    }

    #[cold]
    fn rejected(&self, retry_after: Option<Duration>, now: Instant) {
        // A call that can never fit says nothing about the load.
        if let Some(wait) = retry_after {
            self.status.rejected(now, wait);
        }
        self.counters.increment(REJECTED);
    }

    /// Counts a call for which there is no place to wait.
    #[cold]
    pub(super) fn reject_from_queue(&self, wait: Duration) -> Rejection {
        self.counters.increment(REJECTED);
        Rejection { by: Policy::RateLimiter, bound: "queue", retry_after: Some(wait) }
    }
}
