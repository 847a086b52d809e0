use std::time::Duration;

use anyhow::{Result, ensure};
use tower::{Layer as _, Service, service_fn};
use tower_resilience_circuitbreaker::{CircuitBreakerError, CircuitBreakerLayer};

use super::{NAME, call, share};
use crate::subject::{
    Failure, Object, Outcome, Row, Share, Subject, always_fails, block_on, every_tenth_fails, passes,
};

pub fn subjects() -> Vec<Subject> {
    let of = |row, name| Subject { row, name, object: Object::Shared(calls), check };
    vec![
        of(Row::Closed, "tower-resilience, 100 calls"),
        of(Row::Failing, "tower-resilience, 100 calls"),
        of(Row::Consecutive, NAME),
        of(Row::Open, NAME),
    ]
}

/// Half of 100 calls, or 5 failures in a row.
pub fn layer(row: Row) -> CircuitBreakerLayer {
    let builder = CircuitBreakerLayer::builder().wait_duration_in_open(Duration::from_secs(30));
    let builder = match row {
        Row::Consecutive => builder.consecutive_failures(5),
        _ => builder.failure_rate_threshold(0.5).sliding_window_size(100).minimum_number_of_calls(100),
    };
    builder.build().expect("the settings work together")
}

fn outcome(result: &Result<u64, CircuitBreakerError<Failure>>) -> Outcome {
    match result {
        Ok(_) => Outcome::Passed,
        Err(CircuitBreakerError::Inner(_)) => Outcome::Failed,
        Err(CircuitBreakerError::OpenCircuit) => Outcome::Refused,
    }
}

fn calls(row: Row) -> Share {
    match row {
        Row::Failing => share(row, layer(row).layer(service_fn(every_tenth_fails)), outcome),
        Row::Open => {
            let mut service = layer(row).layer(service_fn(always_fails));
            block_on(fail(&mut service, 100));
            share(row, service, outcome)
        }
        _ => share(row, layer(row).layer(service_fn(passes)), outcome),
    }
}

async fn fail<S>(service: &mut S, calls: u32)
where
    S: Service<u64, Response = u64, Error = CircuitBreakerError<Failure>>,
{
    for _ in 0..calls {
        assert_eq!(outcome(&call(service, 0).await), Outcome::Failed, "it opened too early");
    }
}

fn check() -> Result<()> {
    for (row, enough) in [(Row::Closed, 100), (Row::Consecutive, 5)] {
        let mut service = layer(row).layer(service_fn(always_fails));
        let ended = block_on(async {
            fail(&mut service, enough).await;
            outcome(&call(&mut service, 0).await)
        });
        ensure!(ended == Outcome::Refused, "tower-resilience's breaker did not open");
    }
    Ok(())
}
