//! Collects calls that come together into one call: many items, one round trip.
//!
//! - [`Batcher`]: takes items one by one, hands them to a function in batches, gives each caller its result.
//! - [`BatchConfig`]: how large a batch, how long an item waits, how many batches at once.
//! - [`BatchError`]: what a caller gets instead of its result.
//!
//! A window is not a floor under latency here: an item that comes while nothing is in flight goes at once,
//! alone. Items wait only while a batch is in flight, and go when one ends, when they are `size_max`, or
//! when the first of them has waited for `window`, whichever comes first. So batches grow with the load by
//! themselves. Take it for calls that the other side can take together (a query by many ids, an append, a
//! push). Many calls of the *same* thing are [`crate::coalesce`].
//!
//! No task is spawned. A batch is driven by the callers of its items, whichever of them is polled: any may
//! be cancelled and the others go on. When the last one leaves, the batch is dropped.
//!
//! The pattern is Hystrix's *request collapser* and Facebook's *DataLoader*.

mod config;
mod error;
mod layer;
mod seat;
mod sending;
mod state;
mod stats;
#[cfg(test)]
mod tests;

pub use config::BatchConfig;
pub use error::BatchError;
pub use layer::Batcher;
pub use state::{Departure, Reason, State, Ticket};
pub use stats::Stats;

/// Runs the snippets of the pattern's page.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/patterns/batch.md")]
struct Page;
