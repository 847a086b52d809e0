//! Our circuit breaker by its permits, and as the only policy of a pipeline.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_core::clock::Instant;
use intertie_core::failure::Evidence;
use intertie_core::quantity::Ratio;
use intertie_resilience::circuit_breaker::Window;
use intertie_resilience::{CallError, CircuitBreaker, CircuitBreakerConfig, MonotonicClock, Pipeline};

use crate::subject::{
    Done, Object, Outcome, Row, Share, Subject, always_fails, block_on, every_tenth_fails, passes, work,
};

pub fn subjects() -> Vec<Subject> {
    let mut subjects = Vec::new();
    for row in [Row::Closed, Row::Failing, Row::Consecutive, Row::Open] {
        subjects.push(Subject {
            row,
            name: "ours",
            object: Object::Shared(by_permits),
            check: check_permits,
        });
        if row == Row::Consecutive {
            let object = Object::Shared(at_a_given_instant);
            subjects.push(Subject { row, name: "ours, instant given", object, check: check_permits });
        }
        let object = Object::Shared(in_a_pipeline);
        subjects.push(Subject { row, name: "ours, in a pipeline", object, check: check_pipeline });
    }
    subjects
}

/// Half of at least 100 calls in 10 s, or 5 failures in a row; open for 30 s.
pub fn config(row: Row) -> CircuitBreakerConfig {
    let standard = CircuitBreakerConfig { failures: None, ..CircuitBreakerConfig::standard() };
    if row == Row::Consecutive {
        return CircuitBreakerConfig { consecutive_failures: NonZeroU32::new(5), ..standard };
    }
    CircuitBreakerConfig {
        window: Window::Time(Duration::from_secs(10)),
        failure_rate: Some(Ratio::from_percent(50)),
        minimum_calls: 100,
        ..standard
    }
}

fn breaker(row: Row) -> CircuitBreaker {
    CircuitBreaker::new(config(row)).expect("the settings work together")
}

fn by_permits(row: Row) -> Share {
    let shared = breaker(row);
    if row == Row::Open {
        block_on(fail(100, async || guarded(&shared, MonotonicClock::now(), always_fails(0)).await));
    }
    Box::new(move || {
        let breaker = shared.clone();
        match row {
            Row::Failing => work(row, async move |number| {
                guarded(&breaker, MonotonicClock::now(), every_tenth_fails(number)).await
            }),
            _ => {
                work(row, async move |number| guarded(&breaker, MonotonicClock::now(), passes(number)).await)
            }
        }
    })
}

fn at_a_given_instant(row: Row) -> Share {
    let (shared, now) = (breaker(row), MonotonicClock::now());
    Box::new(move || {
        let breaker = shared.clone();
        work(row, async move |number| guarded(&breaker, now, passes(number)).await)
    })
}

/// One reading of the clock serves both ends of an operation that never waits, as in a pipeline.
async fn guarded(breaker: &CircuitBreaker, now: Instant, operation: Done) -> Outcome {
    let Ok(permit) = breaker.try_admit(now) else { return Outcome::Refused };
    match operation.await {
        Ok(_) => {
            permit.record(now, Evidence::Success);
            Outcome::Passed
        }
        Err(_) => {
            permit.record(now, Evidence::Failure);
            Outcome::Failed
        }
    }
}

fn pipeline(row: Row) -> Pipeline {
    let pipeline = Pipeline::named("breaker").circuit_breaker(config(row));
    pipeline.build().expect("the settings work together")
}

fn in_a_pipeline(row: Row) -> Share {
    let shared = pipeline(row);
    if row == Row::Open {
        block_on(fail(100, async || outcome(&shared.call(|_| always_fails(0)).await)));
    }
    Box::new(move || {
        let pipeline = shared.clone();
        match row {
            Row::Failing => {
                work(row, async move |number| outcome(&pipeline.call(|_| every_tenth_fails(number)).await))
            }
            _ => work(row, async move |number| outcome(&pipeline.call(|_| passes(number)).await)),
        }
    })
}

/// How a call through a pipeline ended.
pub fn outcome<T, E>(result: &Result<T, CallError<E>>) -> Outcome {
    match result {
        Ok(_) => Outcome::Passed,
        Err(CallError::Operation(_) | CallError::Exhausted(_)) => Outcome::Failed,
        Err(_) => Outcome::Refused,
    }
}

async fn fail(calls: u32, mut call: impl AsyncFnMut() -> Outcome) {
    for _ in 0..calls {
        assert_eq!(call().await, Outcome::Failed, "it opened too early");
    }
}

fn check_permits() -> Result<()> {
    for (row, enough) in [(Row::Closed, 100), (Row::Consecutive, 5)] {
        let breaker = breaker(row);
        block_on(fail(enough, async || guarded(&breaker, MonotonicClock::now(), always_fails(0)).await));
        let refused = block_on(guarded(&breaker, MonotonicClock::now(), passes(0))) == Outcome::Refused;
        ensure!(refused, "the breaker did not open");
    }
    Ok(())
}

fn check_pipeline() -> Result<()> {
    for (row, enough) in [(Row::Closed, 100), (Row::Consecutive, 5)] {
        let pipeline = pipeline(row);
        block_on(fail(enough, async || outcome(&pipeline.call(|_| always_fails(0)).await)));
        let refused = block_on(async { outcome(&pipeline.call(|_| passes(0)).await) }) == Outcome::Refused;
        ensure!(refused, "the pipeline's breaker did not open");
    }
    Ok(())
}
