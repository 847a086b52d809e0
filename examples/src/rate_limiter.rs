//! Two callers with a quota each; a call that takes from two limiters or none; a call that waits its turn.

use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_resilience::{MonotonicClock, RateLimiter, RateLimiterConfig};

pub(crate) async fn example() -> Result<()> {
    let each = RateLimiter::new(RateLimiterConfig::new("3/s".parse()?))?;
    let now = MonotonicClock::now();
    for caller in ["alice", "alice", "alice", "alice", "bob"] {
        match each.try_acquire(caller, now, 1) {
            Ok(quota) => {
                println!("{caller}: admitted, {} left, all back in {:?}", quota.remaining, quota.reset);
            }
            Err(rejection) => println!("{caller}: rejected, again in {:?}", rejection.retry_after),
        }
    }
    let stats = each.stats();
    ensure!((stats.admitted, stats.rejected, stats.keys) == (4, 1, 2));

    let all = RateLimiter::new(RateLimiterConfig::new("1/s".parse()?))?;
    let both = |caller| RateLimiter::try_acquire_all([each.claim(caller), all.claim(())], now, 1);
    ensure!(both("carol").is_ok());
    ensure!(both("dave").is_err(), "carol had the last call of all");
    ensure!(each.try_acquire("dave", now, 3).is_ok(), "and dave lost none of his own");

    let provider =
        RateLimiter::new(RateLimiterConfig { queue: 10, ..RateLimiterConfig::new("20/s".parse()?) })?;
    for _ in 0..25 {
        provider.acquire((), 1, Duration::from_secs(1)).await?;
    }
    println!("25 calls at 20 a second, none rejected: {:?}", provider.stats());
    ensure!(provider.stats().admitted == 25);
    Ok(())
}
