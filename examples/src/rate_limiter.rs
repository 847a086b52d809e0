//! Two callers with a quota each.

use anyhow::{Result, ensure};
use intertie_resilience::{MonotonicClock, RateLimiter, RateLimiterConfig};

pub(crate) fn example() -> Result<()> {
    let limiter = RateLimiter::new(RateLimiterConfig::new("3/s".parse()?))?;
    let now = MonotonicClock::now();
    for caller in ["alice", "alice", "alice", "alice", "bob"] {
        match limiter.try_acquire(caller, now, 1) {
            Ok(quota) => {
                println!("{caller}: admitted, {} left, all back in {:?}", quota.remaining, quota.reset);
            }
            Err(rejection) => println!("{caller}: rejected, again in {:?}", rejection.retry_after),
        }
    }
    let stats = limiter.stats();
    ensure!((stats.admitted, stats.rejected, stats.keys) == (4, 1, 2));
    Ok(())
}
