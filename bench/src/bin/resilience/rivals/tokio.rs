//! tokio's timeout, and its semaphore as a bulkhead that waits or does not.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::subject::{Object, Outcome, Row, Share, Subject, Work, block_on, passes, plain, work};

pub fn subjects() -> Vec<Subject> {
    let row = Row::Bulkhead;
    vec![
        Subject { row: Row::Timeout, name: "tokio", object: Object::Single(timeouts), check: check_timeout },
        Subject { row, name: "tokio Semaphore, try_acquire", object: Object::Shared(tries), check },
        Subject { row, name: "tokio Semaphore, acquire", object: Object::Shared(waits), check },
    ]
}

fn timeouts(row: Row) -> Work {
    work(row, async |number| match timeout(Duration::from_secs(30), passes(number)).await {
        Ok(result) => plain(&result),
        Err(_) => Outcome::Refused,
    })
}

fn tries(row: Row) -> Share {
    let shared = Arc::new(Semaphore::new(100));
    Box::new(move || {
        let semaphore = Arc::clone(&shared);
        work(row, async move |number| {
            let Ok(permit) = semaphore.try_acquire() else { return Outcome::Refused };
            let outcome = plain(&passes(number).await);
            drop(permit);
            outcome
        })
    })
}

fn waits(row: Row) -> Share {
    let shared = Arc::new(Semaphore::new(100));
    Box::new(move || {
        let semaphore = Arc::clone(&shared);
        work(row, async move |number| {
            let Ok(permit) = semaphore.acquire().await else { return Outcome::Refused };
            let outcome = plain(&passes(number).await);
            drop(permit);
            outcome
        })
    })
}

fn check_timeout() -> Result<()> {
    let given_up = block_on(async { timeout(Duration::from_millis(5), std::future::pending::<()>()).await });
    ensure!(given_up.is_err(), "tokio's timeout did not give up");
    Ok(())
}

fn check() -> Result<()> {
    let semaphore = Semaphore::new(1);
    let held = semaphore.try_acquire();
    ensure!(held.is_ok() && semaphore.try_acquire().is_err(), "tokio's semaphore let two in");
    Ok(())
}
