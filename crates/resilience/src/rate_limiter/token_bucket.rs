use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use intertie_core::clock::{Instant, nanos};
use intertie_core::quantity::{DURATION_MAX, Rate};

use crate::divisor::Divisor;

use super::limit::{Decision, Limit, StateCell};

/// The token bucket, written as the generic cell rate algorithm (ITU-T I.371, Annex A): instead of tokens
/// it remembers one instant, the *theoretical arrival time* at which the bucket will be full again.
///
/// A call of cost c at time t is admitted if max(TAT, t) + c × interval ≤ t + burst × interval. With
/// `"10/s"` and a burst of 20 that is: 20 calls at once, then one each 100 ms; after 2 s of silence 20
/// again.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenBucket {
    interval: Divisor,
    burst: u64,
    capacity_nanos: u64,
}

/// Permits that are taken: at once, or for a moment to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reservation {
    /// The time until the permits may be used.
    pub(super) wait: Duration,
    /// When the bucket is full again: the mark by which the reservation is known.
    full_at: Instant,
    cost: u64,
}

impl TokenBucket {
    /// A bucket of `burst` tokens that refills at `limit`. The interval between tokens is rounded up to a
    /// whole nanosecond: never more than the limit, at a million per second at most 0.1 % less.
    pub(super) fn new(limit: Rate, burst: u64) -> Self {
        let interval = nanos(limit.period()).div_ceil(limit.amount());
        Self { interval: Divisor::new(interval), burst, capacity_nanos: interval.saturating_mul(burst) }
    }

    /// Refill time that the bucket lacks after a call of `cost`; `None` when `cost` never fits.
    #[inline]
    fn missing(&self, full_at: Instant, now: Instant, cost: u64) -> Option<u64> {
        if cost > self.burst {
            return None;
        }
        Some(full_at.as_nanos().saturating_sub(now.as_nanos()) + self.interval.get() * cost)
    }

    /// Takes `cost` permits that may be used after a wait of at most `wait_max`, or takes none and says
    /// what the wait would be; `None` when `cost` never fits.
    ///
    /// Whoever comes later finds the permits taken, so waits are handed out in order of arrival.
    #[inline]
    pub(super) fn reserve(
        &self,
        full_at: &mut Instant,
        now: Instant,
        cost: u64,
        wait_max: Duration,
    ) -> Result<Reservation, Option<Duration>> {
        let missing = self.missing(*full_at, now, cost).ok_or(None)?;
        let wait = Duration::from_nanos(missing.saturating_sub(self.capacity_nanos));
        // The longest wait that any file can name also keeps the sums far from overflow.
        if wait > wait_max.min(DURATION_MAX) {
            return Err(Some(wait));
        }
        if cost > 0 {
            *full_at = Instant::from_nanos(now.as_nanos().saturating_add(missing));
        }
        Ok(Reservation { wait, full_at: *full_at, cost })
    }

    /// Gives a reservation back if it was the last that was made: then the bucket is as if it had never
    /// been. Had another come after it, that one would keep its later place, and the two places would
    /// be used at once, above the burst.
    pub(super) fn give_back(&self, full_at: &mut Instant, reservation: &Reservation) -> bool {
        let is_last = *full_at == reservation.full_at;
        if is_last {
            *full_at = self.before(*full_at, reservation.cost);
        }
        is_last
    }

    /// Takes as many permits as there are, from `least` to `most`, or none when there are fewer; `None`
    /// when `least` never fits.
    pub(super) fn take_between(
        &self,
        full_at: &mut Instant,
        now: Instant,
        least: u64,
        most: u64,
    ) -> Result<u64, Option<Duration>> {
        let empty = self.missing(*full_at, now, 0).unwrap_or_default();
        let available = self.interval.divide(self.capacity_nanos.saturating_sub(empty));
        let taken = most.min(available).max(least);
        self.reserve(full_at, now, taken, Duration::ZERO)?;
        Ok(taken)
    }

    /// Permits that are there, and the time until all are.
    #[inline]
    pub(super) fn left(&self, full_at: Instant, now: Instant) -> (u64, Duration) {
        let missing = full_at.as_nanos().saturating_sub(now.as_nanos());
        let remaining = self.interval.divide(self.capacity_nanos.saturating_sub(missing));
        (remaining, Duration::from_nanos(missing))
    }

    /// The time in which an empty bucket becomes full.
    pub(super) fn refill(&self) -> Duration {
        Duration::from_nanos(self.capacity_nanos)
    }

    fn before(&self, full_at: Instant, cost: u64) -> Instant {
        Instant::from_nanos(full_at.as_nanos().saturating_sub(self.interval.get() * cost))
    }
}

impl Limit for TokenBucket {
    type State = Instant;
    type Cell = AtomicInstant;

    #[inline]
    fn decide(&self, full_at: &mut Instant, now: Instant, cost: u64) -> Decision {
        let Some(missing) = self.missing(*full_at, now, cost) else {
            return Decision::Rejected { retry_after: None };
        };
        let Some(left) = self.capacity_nanos.checked_sub(missing) else {
            let wait = Duration::from_nanos(missing - self.capacity_nanos);
            return Decision::Rejected { retry_after: Some(wait) };
        };
        if cost > 0 {
            *full_at = now + Duration::from_nanos(missing);
        }
        Decision::Admitted { remaining: self.interval.divide(left), reset: Duration::from_nanos(missing) }
    }

    fn release(&self, full_at: &mut Instant, taken_at: Instant, cost: u64) {
        // Waiters hold places that reckon with these permits; the permits are lost rather than used twice.
        let somebody_waits = full_at.saturating_since(taken_at) > self.refill();
        if !somebody_waits {
            *full_at = self.before(*full_at, cost);
        }
    }

    fn is_idle(&self, full_at: &Instant, now: Instant) -> bool {
        *full_at <= now
    }
}

/// An instant that threads share without a lock, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct AtomicInstant(AtomicU64);

impl StateCell<Instant> for AtomicInstant {
    // Relaxed: the word is the whole state, and nothing else is published through it.
    #[inline]
    fn update<R>(&self, mut change: impl FnMut(&mut Instant) -> R) -> R {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let mut state = Instant::from_nanos(seen);
            let answer = change(&mut state);
            if state.as_nanos() == seen {
                return answer;
            }
            match self.0.compare_exchange_weak(seen, state.as_nanos(), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return answer,
                Err(other) => seen = other,
            }
        }
    }
}
