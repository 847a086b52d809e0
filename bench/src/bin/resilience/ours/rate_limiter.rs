//! Our rate limiter with one quota for all callers.

use std::num::NonZeroU32;

use anyhow::{Result, ensure};
use intertie_resilience::{MonotonicClock, RateLimiter, RateLimiterConfig};

use crate::subject::{Object, Outcome, Row, Share, Subject, passes, plain, work};

pub fn subjects() -> Vec<Subject> {
    let row = Row::Limiter;
    let exact = Object::Shared(|row| calls(row, &limiter(config(UNREACHED))));
    let lent = Object::Shared(|row| calls(row, &limiter(leased(UNREACHED))));
    vec![
        Subject { row, name: "ours", object: exact, check: || check(&limiter(config("10/h"))) },
        Subject { row, name: "ours, leased", object: lent, check: || check(&limiter(leased("10/h"))) },
    ]
}

/// The same, of which each thread takes several permits at a time.
pub fn leased(rate: &str) -> RateLimiterConfig {
    RateLimiterConfig { lease: NonZeroU32::new(8), ..config(rate) }
}

/// A token bucket of this rate, which is also its burst.
pub fn config(rate: &str) -> RateLimiterConfig {
    RateLimiterConfig::new(rate.parse().expect("a rate"))
}

fn limiter(config: RateLimiterConfig) -> RateLimiter {
    RateLimiter::new(config).expect("the settings work together")
}

/// No call is ever refused at this rate.
pub const UNREACHED: &str = "1000000000/s";

fn is_admitted(limiter: &RateLimiter) -> bool {
    limiter.try_acquire((), MonotonicClock::now(), 1).is_ok()
}

fn calls(row: Row, shared: &RateLimiter) -> Share {
    let shared = shared.clone();
    Box::new(move || {
        let limiter = shared.clone();
        work(row, async move |number| {
            if !is_admitted(&limiter) {
                return Outcome::Refused;
            }
            plain(&passes(number).await)
        })
    })
}

fn check(limiter: &RateLimiter) -> Result<()> {
    let admitted = (0..20).filter(|_| is_admitted(limiter)).count();
    ensure!(admitted == 10, "10 an hour admitted {admitted}");
    Ok(())
}
