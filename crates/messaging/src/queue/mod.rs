//! Work for whoever is free: each message goes to one consumer, which has it for a time and says what becomes of
//! it.
//!
//! - [`QueueSpec`]: what a queue promises.
//! - [`QueueEngine`]: who keeps queues.
//! - [`Lease`] and [`Settlement`]: one delivery, and its end.
//! - [`DeadLetter`]: why a message was given up.
//! - [`QueueVerb`]: what not every engine does with messages.
//!
//! A queue promises no order beyond priorities and groups, and no second reading; that is what
//! [`log`](crate::log) is for.
//!
//! ```text
//!            send                     lease                    Ack
//! producer ───────► delayed ─► ready ───────► held by one ──────────► gone
//!                      ▲         ▲            consumer │
//!                      │         │ Release             │
//!                      │         └─────────────────────┤
//!                      │ Retry, or its time is over    │
//!                      └───────────────────────────────┤
//!                            DeadLetter, max_deliveries│
//!                                         or ttl       ▼       Bury
//!                        ready ◄───────────────── dead letters ◄───── records of topics
//!                                   Redrive
//! ```
//!
//! What nobody holds, dead letters included, is gone by `Cancel`.

mod dead_letter;
mod feature;
mod lease;
mod port;
mod spec;

#[cfg(test)]
mod tests;

pub use dead_letter::{Cause, DeadLetter, Origin};
pub use feature::{QueueFeature, QueueVerb, TtlCounts};
pub use lease::{InvalidLease, Lease, LeaseId, LeaseRequest, LeaseToken, Settlement};
pub use port::{Browse, Browsed, Depth, Page, QueueEngine};
pub use spec::{QueueSpec, RedeliveryConfig};
