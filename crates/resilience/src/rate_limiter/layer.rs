use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::config::Invalid;
use intertie_core::rejection::{Policy, Rejection};

use super::Decision;
use super::config::{Algorithm, RateLimiterConfig};
use super::keyed::Keyed;
use super::sliding_window::SlidingWindow;
use super::token_bucket::TokenBucket;

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
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: RateLimiterConfig,
    hasher: RandomState,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    quotas: Quotas,
    admitted: u64,
    rejected: u64,
}

#[derive(Debug)]
enum Quotas {
    TokenBucket(Keyed<TokenBucket>),
    SlidingWindow(Keyed<SlidingWindow>),
}

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
    /// Callers remembered.
    pub keys: usize,
}

impl RateLimiter {
    /// A limiter with full quotas.
    ///
    /// # Errors
    /// When the settings can not work together.
    pub fn new(config: RateLimiterConfig) -> Result<Self, Invalid> {
        config.validate()?;
        let keys_max = config.keys_max.get() as usize;
        let quotas = match config.algorithm {
            Algorithm::TokenBucket => {
                Quotas::TokenBucket(Keyed::new(TokenBucket::new(config.limit, config.capacity()), keys_max))
            }
            Algorithm::SlidingWindow => {
                Quotas::SlidingWindow(Keyed::new(SlidingWindow::new(config.limit), keys_max))
            }
        };
        let inner = Mutex::new(Inner { quotas, admitted: 0, rejected: 0 });
        Ok(Self { shared: Arc::new(Shared { config, hasher: RandomState::new(), inner }) })
    }

    /// The options in force.
    pub fn config(&self) -> &RateLimiterConfig {
        &self.shared.config
    }

    /// Takes `cost` permits from the quota of `key`, now or not at all.
    ///
    /// # Errors
    /// A [`Rejection`] with the time after which the same call can succeed; without one when `cost` is
    /// above what can ever be admitted at once.
    pub fn try_acquire(&self, key: impl Hash, now: Instant, cost: u64) -> Result<Quota, Rejection> {
        let key = self.shared.hasher.hash_one(key);
        let mut inner = self.shared.lock();
        let decision = match &mut inner.quotas {
            Quotas::TokenBucket(quotas) => quotas.decide(key, now, cost),
            Quotas::SlidingWindow(quotas) => quotas.decide(key, now, cost),
        };
        match decision {
            Decision::Admitted { remaining, reset } => {
                inner.admitted += 1;
                Ok(Quota { remaining, reset })
            }
            Decision::Rejected { retry_after } => {
                inner.rejected += 1;
                Err(Rejection { by: Policy::RateLimiter, bound: "limit", retry_after })
            }
        }
    }

    /// What the limiter did so far.
    pub fn stats(&self) -> Stats {
        let inner = self.shared.lock();
        let keys = match &inner.quotas {
            Quotas::TokenBucket(quotas) => quotas.len(),
            Quotas::SlidingWindow(quotas) => quotas.len(),
        };
        Stats { admitted: inner.admitted, rejected: inner.rejected, keys }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
