use std::hash::Hash;
use std::sync::atomic::Ordering;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::rejection::Rejection;

use super::callers::Callers;
use super::engine::Engine;
use super::keyed::Owner;
use super::layer::{Quota, RateLimiter, Shared};
use super::limit::Decision;
use super::token_bucket::{Reservation, TokenBucket};
use crate::MonotonicClock;

impl RateLimiter {
    /// Takes `cost` permits from the quota of `key`, waiting for them for at most `wait_max`.
    ///
    /// The permits are reserved when the future is first polled, in the arithmetic of the token bucket
    /// itself: the order is that of arrival, the wait is known at once, and nobody who comes later can
    /// take a waiter's permits. Timers have a resolution of a millisecond, so waiters that are due within
    /// the same one may go in either order, and each up to a millisecond late.
    ///
    /// With a `queue` of 0, the default, nobody waits and this is [`RateLimiter::try_acquire`] now.
    ///
    /// # Cancellation
    /// Dropping the future leaves the queue. It also gives the permits back if no other call has taken
    /// or reserved permits of the same quota since, or all that have were cancelled before; then the quota
    /// is as if the call had never come. Otherwise they are lost: the later waiters keep the times that
    /// they were told, and the permits of two times at once would be more than the burst.
    ///
    /// # Errors
    /// A [`Rejection`], always at once: at the bound `limit` when the wait would be longer than `wait_max`,
    /// at `queue` when as many wait already, in both cases with the wait after which the call can succeed;
    /// at `limit` without one when `cost` is above what can ever be admitted at once.
    pub fn acquire(
        &self,
        key: impl Hash,
        cost: u64,
        wait_max: Duration,
    ) -> impl Future<Output = Result<Quota, Rejection>> {
        let shared = &*self.shared;
        let key = shared.quotas.hash(key);
        async move {
            let now = MonotonicClock::now();
            let (decision, _) = shared.quotas.engine.decide(key, now, cost);
            let (Engine::TokenBucket(callers), Decision::Rejected { retry_after: Some(wait) }) =
                (&shared.quotas.engine, decision)
            else {
                return shared.conclude(decision, now);
            };
            if shared.quotas.config.queue == 0 || wait > wait_max {
                return shared.conclude(decision, now);
            }
            let Some(place) = Place::enter(shared) else { return Err(shared.reject_from_queue(wait)) };
            let (reserved, owner) = callers.update(key, now, |bucket, full_at| {
                let reservation = bucket.reserve(full_at, now, cost, wait_max)?;
                Ok((reservation, bucket.left(*full_at, now + reservation.wait)))
            });
            let (reservation, (remaining, reset)) = match reserved {
                Ok(reserved) => reserved,
                Err(retry_after) => return shared.conclude(Decision::Rejected { retry_after }, now),
            };
            let due = now + reservation.wait;
            let waiting = Waiting { callers, key, owner, reservation: Some(reservation), since: now };
            tokio::time::sleep_until(MonotonicClock::to_tokio(due)).await;
            waiting.end();
            drop(place);
            shared.conclude(Decision::Admitted { remaining, reset }, due)
        }
    }
}

/// A place among those that wait.
struct Place<'a>(&'a Shared);

impl<'a> Place<'a> {
    fn enter(shared: &'a Shared) -> Option<Self> {
        let room = |waiting| (waiting < shared.quotas.config.queue).then_some(waiting + 1);
        let entered = shared.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
        entered.is_ok().then(|| Self(shared))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A reservation that is given back unless it is used.
struct Waiting<'a> {
    callers: &'a Callers<TokenBucket, 4>,
    key: Option<u64>,
    owner: Owner,
    since: Instant,
    /// Taken when it was used.
    reservation: Option<Reservation>,
}

impl Waiting<'_> {
    fn end(mut self) {
        self.reservation = None;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(reservation) = &self.reservation else { return };
        self.callers.revise(self.key, self.owner, self.since, |bucket, full_at| {
            bucket.give_back(full_at, reservation);
        });
    }
}
