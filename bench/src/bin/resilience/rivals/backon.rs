//! backon's retry, as its documentation shows it.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Result, ensure};
use backon::{ExponentialBuilder, Retryable as _};

use crate::subject::{Object, Outcome, Row, Subject, Work, always_fails, block_on, passes, plain, work};

pub fn subjects() -> Vec<Subject> {
    vec![Subject { row: Row::Retry, name: "backon", object: Object::Single(calls), check }]
}

/// Three attempts, 1 ms and 2 ms between them.
fn backoff() -> ExponentialBuilder {
    ExponentialBuilder::default().with_min_delay(Duration::from_millis(1)).with_max_times(2)
}

fn calls(row: Row) -> Work {
    let backoff = backoff();
    work(row, async move |number| plain(&(|| passes(number)).retry(backoff).await))
}

fn check() -> Result<()> {
    let calls = Cell::new(0);
    let count = || {
        calls.set(calls.get() + 1);
        always_fails(0)
    };
    let ended = block_on(async { plain(&count.retry(backoff()).await) });
    ensure!(ended == Outcome::Failed && calls.get() == 3, "{ended:?} after {} attempts", calls.get());
    Ok(())
}
