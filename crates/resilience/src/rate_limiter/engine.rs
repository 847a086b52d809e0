use intertie_core::clock::Instant;

use super::callers::Callers;
use super::config::{Algorithm, QuotaOverride, RateLimiterConfig};
use super::fixed_window::FixedWindow;
use super::keyed::Owner;
use super::leased::Leased;
use super::limit::{Decision, Limit};
use super::sliding_window::SlidingWindow;
use super::sliding_window_log::SlidingWindowLog;
use super::token_bucket::TokenBucket;

/// The callers of one limiter under the algorithm that its settings chose. The numbers are the callers in
/// a unit of the table: one cache line for a bucket, three for the others.
#[derive(Debug)]
pub(super) enum Engine {
    TokenBucket(Callers<TokenBucket, 4>),
    /// The bucket of all callers is leased to threads.
    Leased(Box<Leased>, Callers<TokenBucket, 4>),
    SlidingWindow(Callers<SlidingWindow, 8>),
    SlidingWindowLog(Callers<SlidingWindowLog, 4>),
    FixedWindow(Callers<FixedWindow, 8>),
}

/// Runs the same code for whichever callers a limiter has.
macro_rules! with_callers {
    ($engine:expr, $callers:ident => $code:expr) => {
        match $engine {
            Engine::TokenBucket($callers) | Engine::Leased(_, $callers) => $code,
            Engine::SlidingWindow($callers) => $code,
            Engine::SlidingWindowLog($callers) => $code,
            Engine::FixedWindow($callers) => $code,
        }
    };
}

impl Engine {
    /// Full quotas, as `config` asks for them; `key` gives the key of a caller that it names.
    pub(super) fn new(config: &RateLimiterConfig, key: impl Fn(&str) -> u64) -> Self {
        let bucket = |quota: &QuotaOverride| TokenBucket::new(quota.limit, quota.capacity());
        match config.algorithm {
            Algorithm::TokenBucket => {
                let callers = callers(config, key, bucket);
                match config.lease {
                    None => Self::TokenBucket(callers),
                    Some(lease) => {
                        let leased = Leased::new(bucket(&config.quota()), lease.get().into());
                        Self::Leased(Box::new(leased), callers)
                    }
                }
            }
            Algorithm::SlidingWindow => {
                Self::SlidingWindow(callers(config, key, |quota| SlidingWindow::new(quota.limit)))
            }
            Algorithm::SlidingWindowLog => {
                Self::SlidingWindowLog(callers(config, key, |quota| SlidingWindowLog::new(quota.limit)))
            }
            Algorithm::FixedWindow => {
                Self::FixedWindow(callers(config, key, |quota| FixedWindow::new(quota.limit)))
            }
        }
    }

    /// Decides about a call of `cost` permits by `key`, and says whose quota answered.
    #[inline]
    pub(super) fn decide(&self, key: Option<u64>, now: Instant, cost: u64) -> (Decision, Owner) {
        match (self, key) {
            // The usual limiter is asked on the spot.
            (Self::TokenBucket(callers), None) => (callers.decide_for_all(now, cost), Owner::Key),
            _ => self.decide_otherwise(key, now, cost),
        }
    }

    fn decide_otherwise(&self, key: Option<u64>, now: Instant, cost: u64) -> (Decision, Owner) {
        match (self, key) {
            (Self::Leased(leased, _), None) => (leased.decide(now, cost), Owner::Key),
            _ => with_callers!(self, callers => {
                callers.update(key, now, |limit, state| limit.decide(state, now, cost))
            }),
        }
    }

    /// Undoes an admission.
    pub(super) fn release(&self, key: Option<u64>, owner: Owner, taken_at: Instant, cost: u64) {
        match (self, key) {
            (Self::Leased(leased, _), None) => leased.release(taken_at, cost),
            _ => with_callers!(self, callers => {
                callers.revise(key, owner, taken_at, |limit, state| limit.release(state, taken_at, cost));
            }),
        }
    }

    /// Callers remembered.
    pub(super) fn keys(&self) -> usize {
        let leased = matches!(self, Self::Leased(leased, _) if leased.is_used());
        usize::from(leased) + with_callers!(self, callers => callers.len())
    }
}

fn callers<L: Limit, const SLOTS: usize>(
    config: &RateLimiterConfig,
    key: impl Fn(&str) -> u64,
    limit: impl Fn(&QuotaOverride) -> L,
) -> Callers<L, SLOTS> {
    let named = config.overrides.iter().map(|(caller, quota)| (key(caller), limit(quota)));
    Callers::new(limit(&config.quota()), config.keys_max.get() as usize, named)
}
