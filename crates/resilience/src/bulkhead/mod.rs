//! Bounds how many calls run at the same time, so that one slow dependency can not take every thread,
//! connection and byte of its caller.
//!
//! Calls above `concurrent` wait in a queue for at most `wait`; calls above `queue` are rejected at once.
//! The name is Michael Nygard's (*Release It!*, 2007).
//!
//! | to | use |
//! |---|---|
//! | hold a place while a call is awaited | [`Bulkhead::acquire`] |
//! | store the place, or move it to a task | [`Bulkhead::acquire_owned`] |
//! | do something else when no place is free | [`Bulkhead::try_acquire`], [`Bulkhead::try_acquire_owned`] |
//! | serve some calls before others, or tenants in turns | [`Caller`] |
//! | serve the latest first under overload | [`Order::Lifo`] |
//! | not to know how many calls are too many | [`adaptive`] |
//!
//! A call that finds a place takes and returns it with two atomic operations on a cache line that its thread
//! seldom shares. The lock is taken when all places are taken or somebody waits.

pub mod adaptive;

mod caller;
mod config;
mod gate;
mod layer;
#[cfg(all(test, intertie_loom))]
mod loom;
mod permit;
mod places;
mod state;
#[cfg(test)]
mod tests;
mod wait;

pub use caller::Caller;
pub use config::{BulkheadConfig, Order};
pub use layer::{Bulkhead, Stats};
pub use permit::{OwnedPermit, Permit, PermitOn};
pub use state::{Arrival, Queue, Served, Ticket};
