//! Makes an operation fail, answer wrongly or take long, on purpose and in known proportions.
//!
//! It stands innermost, around the operation itself, so that every policy sees what it would see if the
//! dependency had done it. It is off unless it is switched on by name, and the same seed injects the same
//! faults in the same order.

mod config;
mod layer;
#[cfg(test)]
mod tests;

pub use config::ChaosConfig;
pub(crate) use layer::Injection;
pub use layer::{Chaos, Stats};
