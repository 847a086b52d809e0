//! Has the messages of a queue handled: each until it is done or dead, no more of them at once than can be, and none
//! lost on the way.
//!
//! - [`Consumer`]: takes, has handled, settles, drains; [`ConsumerConfig`]: with what bounds and policies.
//! - [`Handler`], [`handle`], [`handle_batch`]: what does the work. Every service of tower is one.
//! - [`Failure`]: why it was not done, which decides what becomes of the message.
//! - [`ConsumerStats`]: what happened.
//!
//! ```text
//! queue ── lease, as many as there is credit for ──► waits ──► inbox ──► pipeline ──► handler
//!   ▲                                                  │         │          │            │
//!   │                  time half over, drain, order:   │  marked │ rejected │            │ what it asks for
//!   ├───────────────────────────── release ────────────┴─────────│──────────┘            │
//!   │                                                            ▼                       ▼
//!   │                                                           ack        one commit: ack, mark, effects
//!   └── retry, release or dead letter, by the class of the failure ◄──────── or a failure
//! ```
//!
//! | what happens | the message |
//! |---|---|
//! | the handler succeeds | is acknowledged, marked and its effects are done, as one commit |
//! | what the handler asks for can not be done | has failed, by the cause: a full queue is throttled, a message that is too large permanent |
//! | the handler fails, panics or takes too long | see [`Failure`] |
//! | a policy rejects the call: the circuit breaker is open, the rate limiter has nothing left | was not tried: it waits here if that is over soon, or is given back and not counted; a part of a batch that is being cut waits here, however long |
//! | the inbox has it | is acknowledged and not handled |
//! | its bytes are no envelope | is dead, with its bytes as they came |
//! | another one of its group was not done | is given back behind it |
//! | its time is over although it was extended | is somebody else's: the handler is dropped, and what it asks for is not done |
//!
//! A handler has a future of its own on tokio's runtime. One that does not yield keeps its message from being extended.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use intertie_core::clock::WallClock;
//! use intertie_core::envelope::Envelope;
//! use intertie_core::telemetry::Events;
//! use intertie_messaging::commit::{Commit, Operation};
//! use intertie_messaging::consumer::{Consumer, ConsumerConfig, Failure, handle};
//! # #[cfg(feature = "conformance")]
//! use intertie_messaging::model::Model;
//! use intertie_messaging::queue::{QueueEngine, QueueSpec};
//! use intertie_messaging::{Durability, Engine, Name};
//!
//! # #[cfg(feature = "conformance")]
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
//! let engine = Arc::new(Model::new(&WallClock::system()));
//! let (orders, parcels): (Name, Name) = ("orders".parse()?, "parcels".parse()?);
//! let spec = QueueSpec { durability: Durability::UNSYNCED, ..QueueSpec::default() };
//! for queue in [&orders, &parcels] {
//!     engine.declare_queue(queue, &spec).await?;
//! }
//! let order = Envelope::new("7", "/shop", "order.placed")?;
//! engine.commit(Operation::Send { queue: orders.clone(), message: order.into() }.into()).await?;
//!
//! let (config, events) = (ConsumerConfig::default(), Events::default());
//! let packer = Consumer::new(engine.clone(), &orders, &spec, &"packer".parse()?, config, events)?;
//! let stats = packer.stats();
//! let pack = handle(move |order: Envelope, _| {
//!     let parcels = parcels.clone();
//!     async move {
//!         if order.r#type() != "order.placed" {
//!             return Err(Failure::permanent("this is no order"));
//!         }
//!         let parcel = Envelope::new(order.id(), "/packer", "parcel.packed")?;
//!         Ok(Commit::from(Operation::Send { queue: parcels, message: parcel.into() }))
//!     }
//! });
//! let closing_time = tokio::time::sleep(std::time::Duration::from_secs(60));
//! let drained = packer.run(pack, closing_time).await?;
//!
//! assert!(drained.in_time);
//! assert_eq!(stats.read().acknowledged, 1);
//! assert_eq!(engine.depth(&"parcels".parse()?).await?.ready, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
#[expect(clippy::module_inception, reason = "the type for which the module is there")]
mod consumer;
mod counters;
mod delivery;
mod failure;
mod handler;
mod inbox;
mod intake;
mod keeper;
mod running;
mod shared;
#[cfg(test)]
mod tests;
mod unit;
mod verdict;

pub use config::{ConsumerConfig, InboxConfig, Panics};
pub use consumer::{Consumer, ConsumerError, Drained};
pub use counters::{ConsumerStats, Stats};
pub use delivery::{Context, Delivery};
pub use failure::Failure;
pub use handler::{Handler, HandlerFn, handle, handle_batch};

/// Runs the snippets of the pattern's page.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/patterns/consumer.md")]
struct Page;
