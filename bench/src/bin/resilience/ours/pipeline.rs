//! Our pipeline of five policies: deadline, rate limiter, bulkhead, retry, circuit breaker.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_resilience::{Pipeline, RateLimiterConfig};

use super::circuit_breaker::outcome;
use super::rate_limiter::UNREACHED;
use super::{bulkhead, circuit_breaker, rate_limiter, retry};
use crate::subject::{Failure, Object, Outcome, Row, Share, Subject, always_fails, block_on, passes, work};

pub fn subjects() -> Vec<Subject> {
    let row = Row::Pipeline;
    let exact = Object::Shared(|row| calls(row, &pipeline(LONG, UNREACHED, 100)));
    let lent = Object::Shared(|row| calls(row, &with_limiter(LONG, rate_limiter::leased(UNREACHED), 100)));
    vec![
        Subject { row, name: "ours", object: exact, check },
        Subject { row, name: "ours, leased limiter", object: lent, check },
    ]
}

fn pipeline(deadline: Duration, rate: &str, places: u32) -> Pipeline {
    with_limiter(deadline, rate_limiter::config(rate), places)
}

fn with_limiter(deadline: Duration, limiter: RateLimiterConfig, places: u32) -> Pipeline {
    Pipeline::named("five")
        .deadline(deadline)
        .rate_limiter(limiter)
        .bulkhead(bulkhead::config(places))
        .retry(retry::config())
        .circuit_breaker(circuit_breaker::config(Row::Closed))
        .build()
        .expect("the settings work together")
}

const LONG: Duration = Duration::from_secs(30);

fn calls(row: Row, shared: &Pipeline) -> Share {
    let shared = shared.clone();
    Box::new(move || {
        let pipeline = shared.clone();
        work(row, async move |number| outcome(&pipeline.call(|_| passes(number)).idempotent().await))
    })
}

fn check() -> Result<()> {
    block_on(async {
        let call = async |pipeline: &Pipeline| outcome(&pipeline.call(|_| passes(0)).idempotent().await);

        let limited = pipeline(LONG, "10/h", 100);
        for _ in 0..10 {
            ensure!(call(&limited).await == Outcome::Passed, "the limiter refused too early");
        }
        ensure!(call(&limited).await == Outcome::Refused, "the limiter did not refuse");

        let hurried = pipeline(Duration::from_millis(5), UNREACHED, 1);
        let never = |_| std::future::pending::<Result<u64, Failure>>();
        let mut first = Box::pin(hurried.call(never));
        let pending =
            std::future::poll_fn(|context| std::task::Poll::Ready(first.as_mut().poll(context))).await;
        ensure!(pending.is_pending() && call(&hurried).await == Outcome::Refused, "the bulkhead let two in");
        ensure!(outcome(&first.await) == Outcome::Refused, "the deadline did not end the call");

        let failing = pipeline(LONG, UNREACHED, 100);
        let attempts = Cell::new(0);
        let count = |_| {
            attempts.set(attempts.get() + 1);
            always_fails(0)
        };
        let ended = outcome(&failing.call(count).idempotent().await);
        ensure!(ended == Outcome::Failed && attempts.get() == 3, "{} attempts", attempts.get());
        while attempts.get() < 100 {
            ensure!(outcome(&failing.call(count).await) == Outcome::Failed, "the breaker opened too early");
        }
        ensure!(call(&failing).await == Outcome::Refused, "the breaker did not open");
        Ok(())
    })
}
