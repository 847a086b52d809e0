use std::time::Duration;

use anyhow::{Result, ensure};
use tower::{Layer as _, service_fn};
use tower_resilience_timelimiter::{TimeLimiterError, TimeLimiterLayer};

use super::{NAME, call, share};
use crate::subject::{Failure, Object, Outcome, Row, Share, Subject, block_on, passes};

pub fn subjects() -> Vec<Subject> {
    vec![Subject { row: Row::Timeout, name: NAME, object: Object::Shared(calls), check }]
}

pub fn layer(limit: Duration) -> TimeLimiterLayer {
    TimeLimiterLayer::builder().timeout_duration(limit).cancel_running_future(true).build()
}

fn outcome(result: &Result<u64, TimeLimiterError<Failure>>) -> Outcome {
    match result {
        Ok(_) => Outcome::Passed,
        Err(TimeLimiterError::Inner(_)) => Outcome::Failed,
        Err(TimeLimiterError::Timeout) => Outcome::Refused,
    }
}

fn calls(row: Row) -> Share {
    share(row, layer(Duration::from_secs(30)).layer(service_fn(passes)), outcome)
}

fn check() -> Result<()> {
    let never = service_fn(|_: u64| std::future::pending::<Result<u64, Failure>>());
    let mut service = layer(Duration::from_millis(5)).layer(never);
    let ended = block_on(async { outcome(&call(&mut service, 0).await) });
    ensure!(ended == Outcome::Refused, "tower-resilience's time limiter did not give up");
    Ok(())
}
