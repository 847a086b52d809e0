//! Limits how long one operation may take, and says what becomes of one that is late.
//!
//! | `late` | when the limit is reached | asks of the operation |
//! |---|---|---|
//! | `drop` | it is dropped at once, which is how Rust cancels | nothing |
//! | `cooperate` | it is told by [`Cx::cancelled`], and dropped if it has not ended by itself after `grace` | that it listens |
//! | `detach` | its caller leaves and it goes on alone for at most `grace` | `Send + 'static`, and a spawner |
//!
//! [`Timeout`] does the first two without an allocation; [`DetachingTimeout`] does the third. A timeout
//! inside another is given the outer one's context, [`Call::within`], and never exceeds what is left of it.
//!
//! The attempts of a [`crate::pipeline`] have limits of their own; this is for an operation outside of one.
//! Dropping late work is what `tokio::time::timeout` does; cooperation is Polly's "optimistic" timeout.

mod call;
mod config;
mod context;
mod detach;
mod environment;
mod error;
mod layer;
mod state;
mod stats;
#[cfg(test)]
mod tests;

pub use call::{Call, OnTimeout};
pub use config::{Late, TimeoutConfig, TimeoutPreset};
pub use context::Cx;
pub use detach::{Detachable, DetachedOperation, DetachedStats, DetachingTimeout};
pub use environment::InvalidVariable;
pub use error::{TimedOut, TimeoutError};
pub use layer::Timeout;
pub use state::{Bounds, Limits};
pub use stats::Stats;
