//! Tries again what may succeed the next time, later each time, and only while it can be afforded.
//!
//! - [`RetryConfig`]: how many attempts, how long between them, what share of calls may be retries.
//! - [`Retry`]: the schedule of one call, a pure decision after each failed attempt.
//! - [`RetryBudget`]: the shared ledger that keeps retries from multiplying an outage.
//!
//! Jitter is added after the cap, so that clients that reached it still spread: the wait before attempt
//! n + 1 is d + U(0, jitter × d) with d = min(base × multiplierⁿ⁻¹, cap), and never less than the hint
//! that the dependency gave. (The usual "full jitter" of Marc Brooker, *Exponential Backoff And Jitter*,
//! 2015, may wait less than the base, which breaks "not before the hint".)

mod budget;
mod config;
mod state;
#[cfg(test)]
mod tests;

pub use budget::{BudgetLimits, BudgetStats, Repetition, RetryBudget};
pub use config::{Backoff, RetryConfig, RetryPreset};
pub use state::{Retry, Stop};
