use intertie_core::clock::Instant;

use super::limit::{Decision, Limit, StateCell};
use super::token_bucket::{AtomicInstant, TokenBucket};
use crate::striped::{Padded, STRIPES, stripe};
use crate::sync::{AtomicU64, Ordering};

/// A token bucket that threads seldom meet at: each takes `lease` permits at a time from the shared word
/// to its stripe and spends them there.
///
/// Never more than `lease` permits lie in a stripe, and each of them was taken from the bucket. So in any
/// window at most `STRIPES × lease` more are admitted than by the bucket alone: those that lay there when
/// the window began. A call is rejected only when the bucket and every stripe lack the permits for it.
#[derive(Debug)]
pub(super) struct Leased {
    bucket: TokenBucket,
    lease: u64,
    shared: AtomicInstant,
    stripes: [Padded<AtomicU64>; STRIPES],
}

impl Leased {
    /// A full bucket and empty stripes; `lease` must be at most the burst.
    pub(super) fn new(bucket: TokenBucket, lease: u64) -> Self {
        Self { bucket, lease, shared: AtomicInstant::default(), stripes: Default::default() }
    }

    /// Decides about a call of `cost` permits and takes them only when it is admitted.
    pub(super) fn decide(&self, now: Instant, cost: u64) -> Decision {
        self.decide_in(stripe(), now, cost)
    }

    /// [`Leased::decide`] for a thread of the stripe `stripe`.
    pub(super) fn decide_in(&self, stripe: usize, now: Instant, cost: u64) -> Decision {
        let own = &self.stripes[stripe].0;
        let mut in_hand = 0;
        let mut seen = own.load(Ordering::Relaxed);
        loop {
            if let Some(rest) = (seen + in_hand).checked_sub(cost) {
                // Another thread may have filled the stripe too; permits above its bound are forgone.
                let rest = rest.min(self.lease);
                match own.compare_exchange_weak(seen, rest, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => return self.admitted(now, rest),
                    Err(other) => seen = other,
                }
                continue;
            }
            let least = cost - seen - in_hand;
            let taken = self.shared.update(|full_at| {
                self.bucket.take_between(full_at, now, least, least.saturating_add(self.lease))
            });
            match taken {
                Ok(taken) => in_hand += taken,
                Err(retry_after) => {
                    self.put_back(own, in_hand);
                    if self.steal(cost) {
                        return self.admitted(now, 0);
                    }
                    return Decision::Rejected { retry_after };
                }
            }
        }
    }

    /// Undoes an admission of `cost` permits at `taken_at`.
    pub(super) fn release(&self, taken_at: Instant, cost: u64) {
        self.shared.update(|full_at| self.bucket.release(full_at, taken_at, cost));
    }

    /// Whether anything was ever taken.
    pub(super) fn is_used(&self) -> bool {
        self.shared.update(|full_at| *full_at != Instant::ORIGIN)
    }

    /// Permits that lie in stripes.
    #[cfg(test)]
    pub(super) fn in_stripes(&self) -> [u64; STRIPES] {
        std::array::from_fn(|stripe| self.stripes[stripe].0.load(Ordering::Relaxed))
    }

    /// Permits that lie in the bucket.
    #[cfg(test)]
    pub(super) fn in_bucket(&self, now: Instant) -> u64 {
        self.shared.update(|full_at| self.bucket.left(*full_at, now)).0
    }

    fn admitted(&self, now: Instant, in_stripe: u64) -> Decision {
        let (in_bucket, reset) = self.shared.update(|full_at| self.bucket.left(*full_at, now));
        Decision::Admitted { remaining: in_bucket + in_stripe, reset }
    }

    fn put_back(&self, stripe: &AtomicU64, permits: u64) {
        if permits > 0 {
            let filled = |seen: u64| Some((seen + permits).min(self.lease));
            stripe.fetch_update(Ordering::Relaxed, Ordering::Relaxed, filled).ok();
        }
    }

    /// Takes `cost` permits from one stripe, whosever it is.
    fn steal(&self, cost: u64) -> bool {
        let spent = |seen: u64| seen.checked_sub(cost);
        self.stripes
            .iter()
            .any(|Padded(stripe)| stripe.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent).is_ok())
    }
}
