//! Our timeouts: the policy by itself, and each limit of a pipeline as its only policy.

use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_resilience::{Pipeline, Timeout, TimeoutConfig};

use super::circuit_breaker::outcome;
use crate::subject::{Failure, Object, Outcome, Row, Share, Subject, block_on, passes, work};

pub fn subjects() -> Vec<Subject> {
    let row = Row::Timeout;
    let attempt = Object::Shared(|row| calls(row, &of_an_attempt(LONG)));
    let deadline = Object::Shared(|row| calls(row, &of_the_call(LONG)));
    vec![
        Subject { row, name: "ours", object: Object::Shared(alone), check: check_alone },
        Subject {
            row,
            name: "ours, attempt timeout",
            object: attempt,
            check: || check(&of_an_attempt(SHORT)),
        },
        Subject { row, name: "ours, deadline", object: deadline, check: || check(&of_the_call(SHORT)) },
    ]
}

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(5);

fn alone(row: Row) -> Share {
    let shared = Timeout::new(TimeoutConfig::new(LONG)).expect("the settings work together");
    Box::new(move || {
        let timeout = shared.clone();
        work(row, async move |number| match timeout.run(|_| passes(number)).await {
            Ok(_) => Outcome::Passed,
            Err(_) => Outcome::Refused,
        })
    })
}

fn check_alone() -> Result<()> {
    let timeout = Timeout::new(TimeoutConfig::new(SHORT)).expect("the settings work together");
    let never = |_| std::future::pending::<Result<u64, Failure>>();
    ensure!(
        block_on(async { timeout.run(never).await }).is_err(),
        "an operation that never ends was not given up"
    );
    Ok(())
}

fn of_an_attempt(limit: Duration) -> Pipeline {
    Pipeline::named("timeout").attempt_timeout(limit).build().expect("the settings work together")
}

fn of_the_call(limit: Duration) -> Pipeline {
    Pipeline::named("deadline").deadline(limit).build().expect("the settings work together")
}

fn calls(row: Row, shared: &Pipeline) -> Share {
    let shared = shared.clone();
    Box::new(move || {
        let pipeline = shared.clone();
        work(row, async move |number| outcome(&pipeline.call(|_| passes(number)).await))
    })
}

fn check(pipeline: &Pipeline) -> Result<()> {
    let never = |_| std::future::pending::<Result<u64, Failure>>();
    let ended = block_on(async { outcome(&pipeline.call(never).await) });
    ensure!(ended == Outcome::Refused, "an operation that never ends was not given up");
    Ok(())
}
