//! recloser's circuit breaker over the last 100 calls.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use recloser::{Error, Recloser};

use crate::subject::{
    Done, Object, Outcome, Row, Share, Subject, always_fails, every_tenth_fails, passes, work,
};

pub fn subjects() -> Vec<Subject> {
    let of = |row| Subject { row, name: "recloser, 100 calls", object: Object::Shared(calls), check };
    [Row::Closed, Row::Failing, Row::Open].map(of).into()
}

fn breaker() -> Recloser {
    Recloser::custom().error_rate(0.5).closed_len(100).open_wait(Duration::from_secs(30)).build()
}

fn calls(row: Row) -> Share {
    let shared = Arc::new(breaker());
    if row == Row::Open {
        fail(&shared);
    }
    Box::new(move || {
        let breaker = Arc::clone(&shared);
        match row {
            Row::Failing => work(row, async move |number| guarded(&breaker, every_tenth_fails(number))),
            _ => work(row, async move |number| guarded(&breaker, passes(number))),
        }
    })
}

fn guarded(breaker: &Recloser, operation: Done) -> Outcome {
    match breaker.call(|| operation.into_inner()) {
        Ok(_) => Outcome::Passed,
        Err(Error::Inner(_)) => Outcome::Failed,
        Err(Error::Rejected) => Outcome::Refused,
    }
}

/// It judges once its ring is full.
fn fail(breaker: &Recloser) {
    for _ in 0..=100 {
        assert_eq!(guarded(breaker, always_fails(0)), Outcome::Failed, "it opened too early");
    }
}

fn check() -> Result<()> {
    let breaker = breaker();
    fail(&breaker);
    ensure!(guarded(&breaker, passes(0)) == Outcome::Refused, "recloser's breaker did not open");
    Ok(())
}
