use std::time::Duration;

use intertie_core::clock::{Instant, nanos};
use intertie_core::quantity::Rate;

use super::{Decision, Limit};

/// The token bucket, written as the generic cell rate algorithm (ITU-T I.371, Annex A): instead of tokens
/// it remembers one instant, the *theoretical arrival time* at which the bucket will be full again.
///
/// A call of cost c at time t is admitted if max(TAT, t) + c × interval ≤ t + burst × interval. With
/// `"10/s"` and a burst of 20 that is: 20 calls at once, then one each 100 ms; after 2 s of silence 20
/// again.
#[derive(Debug, Clone, Copy)]
pub struct TokenBucket {
    interval_nanos: u64,
    burst: u64,
}

impl TokenBucket {
    /// A bucket of `burst` tokens that refills at `limit`. The interval between tokens is rounded up to a
    /// whole nanosecond: never more than the limit, at a million per second at most 0.1 % less.
    pub fn new(limit: Rate, burst: u64) -> Self {
        Self { interval_nanos: nanos(limit.period()).div_ceil(limit.amount()), burst }
    }

    fn capacity_nanos(&self) -> u64 {
        self.interval_nanos.saturating_mul(self.burst)
    }
}

impl Limit for TokenBucket {
    type State = Instant;

    fn decide(&self, full_at: &mut Instant, now: Instant, cost: u64) -> Decision {
        if cost > self.burst {
            return Decision::Rejected { retry_after: None };
        }
        let missing = full_at.as_nanos().saturating_sub(now.as_nanos()) + self.interval_nanos * cost;
        match missing.checked_sub(self.capacity_nanos()) {
            Some(over) if over > 0 => Decision::Rejected { retry_after: Some(Duration::from_nanos(over)) },
            _ => {
                *full_at = Instant::from_nanos(now.as_nanos().saturating_add(missing));
                Decision::Admitted {
                    remaining: (self.capacity_nanos() - missing) / self.interval_nanos,
                    reset: Duration::from_nanos(missing),
                }
            }
        }
    }

    fn is_idle(&self, full_at: &Instant, now: Instant) -> bool {
        *full_at <= now
    }

    fn memory(&self) -> Duration {
        Duration::from_nanos(self.capacity_nanos())
    }
}
