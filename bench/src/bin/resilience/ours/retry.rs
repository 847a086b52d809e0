//! Our retry: the schedule alone, and with its budget as the only policy of a pipeline.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use intertie_core::quantity::Ratio;
use intertie_resilience::deadline::Deadline;
use intertie_resilience::retry::Retry;
use intertie_resilience::{MonotonicClock, Pipeline, RetryConfig};

use super::circuit_breaker::outcome;
use crate::subject::{
    Done, Object, Outcome, Row, Share, Subject, Work, always_fails, block_on, passes, plain, work,
};

pub fn subjects() -> Vec<Subject> {
    let row = Row::Retry;
    vec![
        Subject { row, name: "ours, no budget", object: Object::Single(schedule), check: check_schedule },
        Subject { row, name: "ours, in a pipeline", object: Object::Shared(in_a_pipeline), check },
    ]
}

/// Three attempts, 1 ms and 2 ms between them.
pub fn config() -> RetryConfig {
    RetryConfig { base: Duration::from_millis(1), ..RetryConfig::standard() }
}

fn schedule(row: Row) -> Work {
    let config = config();
    work(row, async move |number| repeated(&config, || passes(number)).await)
}

async fn repeated(config: &RetryConfig, operation: impl Fn() -> Done) -> Outcome {
    let mut retry = Retry::new(config);
    loop {
        let result = operation().await;
        if result.is_ok() {
            return plain(&result);
        }
        let (now, unlimited) = (MonotonicClock::now(), Deadline::new(Instant::ORIGIN, None, None));
        match retry.next(now, unlimited, Class::Transient, None, Ratio::ZERO) {
            Ok(wait) => tokio::time::sleep(wait).await,
            Err(_) => return plain(&result),
        }
    }
}

fn pipeline() -> Pipeline {
    Pipeline::named("retry").retry(config()).build().expect("the settings work together")
}

fn in_a_pipeline(row: Row) -> Share {
    let shared = pipeline();
    Box::new(move || {
        let pipeline = shared.clone();
        work(row, async move |number| outcome(&pipeline.call(|_| passes(number)).idempotent().await))
    })
}

/// An operation that fails, and how often it was called.
fn counted(calls: &Cell<u32>) -> Done {
    calls.set(calls.get() + 1);
    always_fails(0)
}

fn check_schedule() -> Result<()> {
    let (config, calls) = (config(), Cell::new(0));
    let ended = block_on(repeated(&config, || counted(&calls)));
    ensure!(ended == Outcome::Failed && calls.get() == 3, "{ended:?} after {} attempts", calls.get());
    Ok(())
}

fn check() -> Result<()> {
    let (pipeline, calls) = (pipeline(), Cell::new(0));
    let ended = block_on(async { outcome(&pipeline.call(|_| counted(&calls)).idempotent().await) });
    ensure!(ended == Outcome::Failed && calls.get() == 3, "{ended:?} after {} attempts", calls.get());
    Ok(())
}
