//! Begins a second attempt while the first is still under way, so that one slow server, one pause or one lost
//! packet does not make the caller slow: of both, the first success wins.
//!
//! - [`HedgeConfig`]: when a further attempt begins, how many there may be, what share of calls may have one.
//! - [`Hedge`]: runs an operation so.
//! - [`Latencies`]: the latencies of late, in constant memory, for a delay that follows them.
//! - [`Attempts`]: the attempts of one call, a pure decision after each event.
//!
//! **Only for idempotent operations.** Two attempts may both reach the service and both be carried out.
//!
//! An attempt that lost is dropped. That it did not end says nothing about the service: a circuit breaker
//! around single attempts must take its permit back without an outcome, as a dropped
//! [`crate::circuit_breaker::Permit`] does.
//!
//! The pattern is the "hedged request" of Jeffrey Dean and Luiz André Barroso (*The Tail at Scale*, 2013): a
//! second request after the 95th percentile costs about 5% more load and cuts the tail.

mod call;
mod config;
mod latencies;
mod layer;
mod quantile;
mod running;
mod state;
#[cfg(test)]
mod tests;

pub use call::Call;
pub use config::HedgeConfig;
pub use latencies::Latencies;
pub use layer::{Hedge, Stats};
pub use quantile::Quantile;
pub use state::{Attempts, Next};
