//! Keeps a few open connections, or whatever else is dear to make, so that a call finds one ready.
//!
//! What a pool should do depends on what it holds; a [`Manage`] tells how to make one, how to find out that
//! one still works, and how to see without waiting that it does not.
//!
//! | a caller finds | it gets |
//! |---|---|
//! | an idle resource | the one used last, checked first if it was idle for long |
//! | none idle, fewer than `max` open | the place to connect for itself, and its own error when that fails |
//! | `max` open and in use | a place in the queue: what comes back goes to whoever waits longest |
//! | a full queue, or no luck within `acquire_timeout` or what is left of the caller's deadline | a [`Rejection`](intertie_core::rejection::Rejection) |
//!
//! Who has begun to connect goes on, even when a resource comes back meanwhile: bursts would else turn into
//! handshakes that are broken off, again and again, and the pool would never grow.
//!
//! **With and without maintenance.** The pool spawns nothing. [`Pool::maintain`] is a future that keeps
//! `min_idle` resources ready, checks idle ones, replaces those whose lifetime is over and reports leaks; it
//! should be spawned once. Without it the pool works, connects when callers ask, reaps idle resources only
//! when somebody checks out, drops those past their lifetime when they come back, and reports no leaks.
//!
//! The model of lifetimes, background checks and leak reports is HikariCP.

mod config;
mod entry;
mod event;
mod guard;
mod layer;
mod maintain;
mod manage;
mod schedule;
mod shared;
mod state;
mod stats;
#[cfg(test)]
mod tests;

pub use config::{CheckOnCheckout, PoolConfig};
pub use event::Event;
pub use guard::Pooled;
pub use layer::Pool;
pub use manage::{Manage, PoolError};
pub use stats::Stats;
