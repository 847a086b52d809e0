use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use intertie_core::config::Invalid;

use super::claim::Claim;
use super::config::RateLimiterConfig;
use super::engine::Engine;

/// The quotas of a rate limiter by themselves: they admit and reject, and nobody counts, waits or is told.
///
/// A [`RateLimiter`](super::RateLimiter) is 2 KiB larger, nearly all of it the counters at which threads do not
/// meet. Who has tens of thousands of limiters and counts their calls anyway does better with these: 0.5 KiB each.
///
/// # Example
/// ```
/// use intertie_resilience::rate_limiter::{Quotas, RateLimiterConfig};
/// use intertie_resilience::{MonotonicClock, RateLimiter};
///
/// let quotas = Quotas::new(RateLimiterConfig::new("1/s".parse()?))?;
/// let now = MonotonicClock::now();
/// let call = |user| RateLimiter::try_acquire_all([quotas.claim(user)], now, 1).is_ok();
/// assert_eq!(["alice", "alice", "bob"].map(call), [true, false, true]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Quotas {
    pub(super) config: RateLimiterConfig,
    pub(super) engine: Engine,
    hasher: RandomState,
}

impl Quotas {
    /// Full quotas.
    ///
    /// # Errors
    /// When the settings can not work together.
    pub fn new(config: RateLimiterConfig) -> Result<Self, Invalid> {
        config.validate()?;
        let hasher = RandomState::new();
        let engine = Engine::new(&config, |caller| {
            let mut state = hasher.build_hasher();
            config.by.hash_value(caller, &mut state);
            state.finish()
        });
        Ok(Self { config, engine, hasher })
    }

    /// The options in force.
    pub fn config(&self) -> &RateLimiterConfig {
        &self.config
    }

    /// A claim on the quota of `key`, which is of the same kind as for
    /// [`RateLimiter::try_acquire`](super::RateLimiter::try_acquire).
    pub fn claim(&self, key: impl Hash) -> Claim<'_> {
        Claim { quotas: self, key: self.hash(key), counted_by: None }
    }

    /// Callers remembered, among them idle ones that no other took the place of yet.
    pub fn keys(&self) -> usize {
        self.engine.keys()
    }

    /// The key's hash under this limiter's secret; none when the key holds no bytes.
    #[inline]
    pub(super) fn hash(&self, key: impl Hash) -> Option<u64> {
        let mut hasher = KeyHasher { inner: self.hasher.build_hasher(), is_empty: true };
        key.hash(&mut hasher);
        (!hasher.is_empty).then(|| hasher.inner.finish())
    }
}

/// Notices whether a key has anything to hash.
struct KeyHasher<H> {
    inner: H,
    is_empty: bool,
}

impl<H: Hasher> Hasher for KeyHasher<H> {
    fn finish(&self) -> u64 {
        self.inner.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.is_empty = false;
        self.inner.write(bytes);
    }
}
