use std::hash::Hash;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::rejection::Rejection;

use super::layer::{Quota, RateLimiter, Shared};
use super::limit::Decision;
use super::quotas::Quotas;

/// A limiter and the key that it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    pub(super) quotas: &'a Quotas,
    pub(super) key: Option<u64>,
    /// Who counts the call, if anybody does.
    pub(super) counted_by: Option<&'a Shared>,
}

impl RateLimiter {
    /// A claim on the quota of `key`, for [`RateLimiter::try_acquire_all`].
    pub fn claim(&self, key: impl Hash) -> Claim<'_> {
        Claim { counted_by: Some(&self.shared), ..self.shared.quotas.claim(key) }
    }

    /// Takes `cost` permits from every claim's quota, or from none: the global limit and the caller's own
    /// together. The answer is the tightest of the quotas.
    ///
    /// The claims are drawn and asked in order, none after one that refuses, and what the earlier ones gave returns to them when a later one
    /// refuses. Another thread may be rejected by those permits in the moments between. They are lost
    /// instead of returned when, in those moments, a caller began to wait behind them.
    ///
    /// Limiters that count a refused call: the one that refused. Put the one that refuses most often first.
    ///
    /// # Errors
    /// The [`Rejection`] of the first limiter that refuses.
    ///
    /// # Example
    /// ```
    /// use intertie_resilience::{MonotonicClock, RateLimiter, RateLimiterConfig};
    ///
    /// let all = RateLimiter::new(RateLimiterConfig::new("3/s".parse()?))?;
    /// let each = RateLimiter::new(RateLimiterConfig::new("2/s".parse()?))?;
    /// let now = MonotonicClock::now();
    /// let call = |user| RateLimiter::try_acquire_all([each.claim(user), all.claim(())], now, 1).is_ok();
    /// assert_eq!(["alice", "alice", "alice"].map(call), [true, true, false]);
    /// assert_eq!(["bob", "bob", "carol"].map(call), [true, false, false]);
    /// assert!(each.try_acquire("carol", now, 2).is_ok(), "carol lost nothing");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_acquire_all<'a>(
        claims: impl IntoIterator<Item = Claim<'a>>,
        now: Instant,
        cost: u64,
    ) -> Result<Quota, Rejection> {
        Self::take_all(&mut claims.into_iter(), now, cost, &mut |_| {})
    }

    /// As [`RateLimiter::try_acquire_all`], and tells `told` what each claim's quota answered, in order, none
    /// after one that refuses: what is left of it if all the others grant theirs, and for the one that refuses
    /// that nothing is left until its wait is over.
    ///
    /// # Errors
    /// As [`RateLimiter::try_acquire_all`].
    pub fn try_acquire_all_telling<'a>(
        claims: impl IntoIterator<Item = Claim<'a>>,
        now: Instant,
        cost: u64,
        mut told: impl FnMut(Quota),
    ) -> Result<Quota, Rejection> {
        Self::take_all(&mut claims.into_iter(), now, cost, &mut told)
    }

    fn take_all<'a>(
        claims: &mut dyn Iterator<Item = Claim<'a>>,
        now: Instant,
        cost: u64,
        told: &mut dyn FnMut(Quota),
    ) -> Result<Quota, Rejection> {
        let Some(first) = claims.next() else {
            return Ok(Quota { remaining: u64::MAX, reset: Duration::ZERO });
        };
        let (decision, owner) = first.quotas.engine.decide(first.key, now, cost);
        match decision {
            Decision::Admitted { remaining, reset } => told(Quota { remaining, reset }),
            Decision::Rejected { retry_after } => {
                told(Quota { remaining: 0, reset: retry_after.unwrap_or_default() });
                return first.conclude(decision, now);
            }
        }
        match Self::take_all(claims, now, cost, told) {
            Ok(tightest) => first.conclude(decision, now).map(|quota| Quota {
                remaining: quota.remaining.min(tightest.remaining),
                reset: quota.reset.max(tightest.reset),
            }),
            Err(rejection) => {
                first.quotas.engine.release(first.key, owner, now, cost);
                Err(rejection)
            }
        }
    }
}

impl Claim<'_> {
    fn conclude(&self, decision: Decision, now: Instant) -> Result<Quota, Rejection> {
        match self.counted_by {
            Some(limiter) => limiter.conclude(decision, now),
            None => decision.answer(),
        }
    }
}
