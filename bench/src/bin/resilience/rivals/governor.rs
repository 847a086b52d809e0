//! governor's limiter with one quota for all, on its default clock and on the clock that ours reads.

use std::num::NonZeroU32;
use std::sync::Arc;

use anyhow::{Result, ensure};
use governor::clock::{Clock, DefaultClock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::subject::{Object, Outcome, Row, Share, Subject, passes, plain, work};

pub const SAME_CLOCK: &str = "governor, Instant";

pub fn subjects() -> Vec<Subject> {
    let row = Row::Limiter;
    let default = Object::Shared(|row| calls(row, DefaultClock::default()));
    let same = Object::Shared(|row| calls(row, MonotonicClock));
    vec![
        Subject { row, name: "governor, quanta", object: default, check: || check(DefaultClock::default()) },
        Subject { row, name: SAME_CLOCK, object: same, check: || check(MonotonicClock) },
    ]
}

type Direct<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

fn limiter<C: Clock>(quota: Quota, clock: C) -> Direct<C> {
    RateLimiter::direct_with_clock(quota, clock)
}

fn calls<C: Clock + Send + Sync + 'static>(row: Row, clock: C) -> Share
where
    C::Instant: Send + Sync,
{
    let unreached = NonZeroU32::new(1_000_000_000).expect("not zero");
    let shared = Arc::new(limiter(Quota::per_second(unreached), clock));
    Box::new(move || {
        let limiter = Arc::clone(&shared);
        work(row, async move |number| {
            if limiter.check().is_err() {
                return Outcome::Refused;
            }
            plain(&passes(number).await)
        })
    })
}

fn check<C: Clock>(clock: C) -> Result<()> {
    let limiter = limiter(Quota::per_hour(NonZeroU32::new(10).expect("not zero")), clock);
    let admitted = (0..20).filter(|_| limiter.check().is_ok()).count();
    ensure!(admitted == 10, "10 an hour admitted {admitted}");
    Ok(())
}
