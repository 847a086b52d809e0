//! Bounds how many calls run at the same time, so that one slow dependency can not take every thread,
//! connection and byte of its caller.
//!
//! Calls above `concurrent` wait in a queue, first come first served, for at most `wait`; calls above
//! `queue` are rejected at once. The name is Michael Nygard's (*Release It!*, 2007).

mod config;
mod layer;
mod state;
#[cfg(test)]
mod tests;

pub use config::BulkheadConfig;
pub use layer::{Bulkhead, Permit, Stats};
pub use state::{Arrival, State, Ticket};
