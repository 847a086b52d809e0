//! Which endpoint of a service gets the next call.
//!
//! - [`endpoint`]: where an endpoint listens and how large its share is.
//! - [`balance`]: the choice among the endpoints that can be used now.
//! - [`health_check`]: endpoints that fail their active checks are left out until they pass again.
//! - [`outlier`]: endpoints that fail real calls are left out for a while.
//!
//! The three decide, and nothing more: they take `now`, outcomes and a random number as arguments and return
//! what to do. Who calls them owns the clock, the lock, the sockets and the counters.

pub mod balance;
pub mod endpoint;
pub mod health_check;
pub mod outlier;
