//! failsafe's circuit breakers, by their synchronous calls: the cheaper of its two interfaces.

use std::time::Duration;

use anyhow::{Result, ensure};
use failsafe::{CircuitBreaker, Config, Error, backoff, failure_policy};

use crate::subject::{
    Done, Object, Outcome, Row, Share, Subject, always_fails, every_tenth_fails, passes, work,
};

pub fn subjects() -> Vec<Subject> {
    let consecutive = Object::Shared(|row| calls(row, in_a_row()));
    let window = Object::Shared(|row| calls(row, windowed(10)));
    let of = |row, object, check| Subject { row, name: "failsafe", object, check };
    vec![
        of(Row::Closed, window, check_windowed),
        of(Row::Failing, window, check_windowed),
        of(Row::Consecutive, consecutive, check_in_a_row),
        of(Row::Open, consecutive, check_in_a_row),
    ]
}

const OPEN: Duration = Duration::from_secs(30);

/// Half of at least 100 calls; it judges only once a whole window has passed.
fn windowed(seconds: u64) -> impl CircuitBreaker + Clone + Send + 'static {
    let window = Duration::from_secs(seconds);
    let policy = failure_policy::success_rate_over_time_window(0.5, 100, window, backoff::constant(OPEN));
    Config::new().failure_policy(policy).build()
}

fn in_a_row() -> impl CircuitBreaker + Clone + Send + 'static {
    Config::new().failure_policy(failure_policy::consecutive_failures(5, backoff::constant(OPEN))).build()
}

fn calls(row: Row, shared: impl CircuitBreaker + Clone + Send + 'static) -> Share {
    if row == Row::Open {
        fail(&shared, 5);
    }
    Box::new(move || {
        let breaker = shared.clone();
        match row {
            Row::Failing => work(row, async move |number| guarded(&breaker, every_tenth_fails(number))),
            _ => work(row, async move |number| guarded(&breaker, passes(number))),
        }
    })
}

fn guarded(breaker: &impl CircuitBreaker, operation: Done) -> Outcome {
    match breaker.call(|| operation.into_inner()) {
        Ok(_) => Outcome::Passed,
        Err(Error::Inner(_)) => Outcome::Failed,
        Err(Error::Rejected) => Outcome::Refused,
    }
}

fn fail(breaker: &impl CircuitBreaker, calls: u32) {
    for _ in 0..calls {
        assert_eq!(guarded(breaker, always_fails(0)), Outcome::Failed, "it opened too early");
    }
}

fn check_windowed() -> Result<()> {
    let breaker = windowed(1);
    std::thread::sleep(Duration::from_millis(1_100));
    fail(&breaker, 100);
    ensure!(guarded(&breaker, passes(0)) == Outcome::Refused, "failsafe's windowed breaker did not open");
    Ok(())
}

fn check_in_a_row() -> Result<()> {
    let breaker = in_a_row();
    fail(&breaker, 5);
    ensure!(guarded(&breaker, passes(0)) == Outcome::Refused, "failsafe's breaker did not open");
    Ok(())
}
