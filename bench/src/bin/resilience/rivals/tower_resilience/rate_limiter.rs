use std::time::Duration;

use anyhow::{Result, ensure};
use tower::{Layer as _, service_fn};
use tower_resilience_ratelimiter::{RateLimiterLayer, RateLimiterServiceError};

use super::{call, share};
use crate::subject::{Failure, Object, Outcome, Row, Subject, block_on, passes};

pub fn subjects() -> Vec<Subject> {
    let row = Row::Limiter;
    let fixed_window = Object::Shared(|row| share(row, fixed(UNREACHED).layer(service_fn(passes)), outcome));
    let bucket = Object::Shared(|row| share(row, token_bucket(UNREACHED).layer(service_fn(passes)), outcome));
    vec![
        Subject {
            row,
            name: "tower-resilience, fixed window",
            object: fixed_window,
            check: || check(&fixed(10)),
        },
        Subject {
            row,
            name: "tower-resilience, token bucket",
            object: bucket,
            check: || check(&token_bucket(9)),
        },
    ]
}

pub const UNREACHED: usize = 1_000_000_000;

/// Rejects at once, as ours does, instead of waiting for the next period.
pub fn fixed(rate: usize) -> RateLimiterLayer {
    let builder = RateLimiterLayer::per_second(rate).refresh_period(PERIOD);
    builder.timeout_duration(Duration::ZERO).build().expect("the settings work together")
}

/// With a burst of one more than the rate, since it takes no burst of none.
fn token_bucket(rate: usize) -> RateLimiterLayer {
    let builder = RateLimiterLayer::burst(rate, 1).refresh_period(PERIOD);
    builder.timeout_duration(Duration::ZERO).build().expect("the settings work together")
}

/// So long that a check never sees the next one, and the measurement never the end of its quota.
const PERIOD: Duration = Duration::from_secs(10);

fn outcome(result: &Result<u64, RateLimiterServiceError<Failure>>) -> Outcome {
    match result {
        Ok(_) => Outcome::Passed,
        Err(RateLimiterServiceError::Inner(_)) => Outcome::Failed,
        Err(RateLimiterServiceError::RateLimited) => Outcome::Refused,
    }
}

fn check(layer: &RateLimiterLayer) -> Result<()> {
    let mut service = layer.layer(service_fn(passes));
    let admitted = block_on(async {
        let mut admitted = 0;
        for _ in 0..20 {
            admitted += u32::from(outcome(&call(&mut service, 0).await) == Outcome::Passed);
        }
        admitted
    });
    ensure!(admitted == 10, "10 in a period admitted {admitted}");
    Ok(())
}
