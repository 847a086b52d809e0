//! Defects that users of other libraries reported, and one or two that this one had: each is a test here, with
//! the report that it comes from.

mod adaptive_limits;
mod circuit_breaker;
mod limits;
mod pipeline;
mod pools_and_batches;
mod retries;

use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::clock::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(1_000 + seconds)
}

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}
