//! Durable queues and topics.
//!
//! - [`queue`]: work for whoever is free; leases, redelivery, dead letters.
//! - [`log`]: what happened, in order; partitions, groups, replay.
//! - [`commit`]: what changes both, as a whole or not at all, and what of it can be done once.
//! - [`support`]: what an engine can do of what is asked for, said when it is declared.
//! - [`stored`]: what a message says, as bytes that engines keep.
//! - [`engines`]: how both ports lie on six engines.
//!
//! With the feature `consumer` also what runs on them: `consumer`, which has the messages of a queue handled,
//! `request_reply`, which asks by one queue and is answered by another, and `event_bus`, which stores events and then
//! tells everyone who subscribed.
//!
//! With the feature `conformance` also `model`, an engine in memory for tests, and `conformance`, the suite that an
//! engine proves itself by.
//!
//! Two ports, because they promise different things: a queue has no second reading and no order beyond its groups, a
//! topic knows nothing of single records. No promise is dropped in silence: each part of a [`queue::QueueSpec`] or a
//! [`log::TopicSpec`] ends as native, as emulated and reported, or as a [`support::Refusal`].

#[cfg(any(test, feature = "consumer"))]
mod causation;
pub mod commit;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(any(test, feature = "consumer"))]
pub mod consumer;
mod durability;
mod engine;
pub mod engines;
#[cfg(any(test, feature = "consumer"))]
pub mod event_bus;
mod inbox;
pub mod log;
mod message;
#[cfg(any(test, feature = "conformance"))]
pub mod model;
mod name;
#[cfg(any(test, feature = "consumer"))]
mod pattern;
pub mod queue;
#[cfg(any(test, feature = "consumer"))]
pub mod request_reply;
pub mod stored;
pub mod support;
#[cfg(any(test, feature = "consumer"))]
mod unwind;

pub use durability::Durability;
pub use engine::{DeclareError, Engine, EngineError, Listing, Pending, Unfit};
pub use inbox::InboxEngine;
pub use message::{Content, Due, Message};
pub use name::{InvalidName, Name};
#[cfg(any(test, feature = "consumer"))]
pub use pattern::{InvalidPattern, Pattern};
