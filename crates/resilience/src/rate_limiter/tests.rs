use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::quantity::Rate;

use super::limit::{Decision, Limit};
use super::*;

mod algorithms;
mod configuration;
mod keyed;
mod lease;
mod leased;
mod limiter;
mod waiting;

const NOW: Instant = Instant::from_nanos(60_000_000_000_000);

fn rate(text: &str) -> Rate {
    text.parse().expect("a rate")
}

fn per_second(amount: u64) -> Rate {
    Rate::new(amount, Duration::from_secs(1)).expect("valid")
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn admits<L: Limit>(limit: &L, state: &mut L::State, now: Instant, cost: u64) -> bool {
    matches!(limit.decide(state, now, cost), Decision::Admitted { .. })
}

fn limiter(config: RateLimiterConfig) -> RateLimiter {
    RateLimiter::new(config).expect("valid")
}
