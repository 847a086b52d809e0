//! A caller that leaves 250 ms, and attempts of 200 ms each: the second gets what is left.

use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_resilience::MonotonicClock;
use intertie_resilience::deadline::{Deadline, LimitedBy};

pub(crate) async fn example() -> Result<()> {
    let started = MonotonicClock::now();
    let ours = Some(Duration::from_secs(5));
    let callers = Some(Duration::from_millis(250));
    let deadline = Deadline::new(started, ours, callers);
    let attempt_timeout = Some(Duration::from_millis(200));

    let first = deadline.attempt(started, attempt_timeout);
    ensure!(first.by == LimitedBy::AttemptTimeout);
    tokio::time::sleep(Duration::from_millis(200)).await;

    let now = MonotonicClock::now();
    let second = deadline.attempt(now, attempt_timeout);
    ensure!(second.by == LimitedBy::Deadline);
    println!("the second attempt may take {:?}", second.at.map(|at| at.saturating_since(now)));
    Ok(())
}
