//! Tells everyone who subscribed of what happened: stored in a topic first, told to the handlers of this process then.
//!
//! - [`EventBus`]: publishes, one event or a batch; [`EventBusConfig`]: within what bounds.
//! - [`EventBus::subscribe`], [`EventBus::subscribe_as`]: by [`Pattern`](crate::Pattern), such as `orders.*` and `**`.
//! - [`EventBus::add_middleware`]: what events pass through before they are stored.
//! - [`Published`], [`PublishedBatch`], [`HandlerFailure`]: what became of them, handler by handler; [`PublishError`]: why
//!   they are not stored.
//!
//! ```text
//!                              ┌─ all of a batch, or nothing ─┐
//! publish ──► middlewares ──► topic, as durable as it asks ──► handlers of this process ──► report, audit
//!                               │                               at most once, all of them
//!                               └──► groups of the topic: every process, at least once, each at its own pace
//! ```
//!
//! **What is promised.** An event that [`EventBus::publish`] reports is stored, and every group of the topic will read it.
//! The handlers of this process are called after that, each once, and nothing repeats a call: not its failure, which is
//! reported, and not the end of the process between the two, after which no handler of a bus hears of the event. What must
//! not be missed is done by a group of the topic, which reads on from its position whatever happens in between; what may
//! be, such as emptying a cache or telling a browser, is done here, without waiting for a reader's turn.
//!
//! Publications and handlers run as tasks of tokio's runtime.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use intertie_core::clock::WallClock;
//! use intertie_core::envelope::Envelope;
//! use intertie_core::telemetry::Events;
//! use intertie_messaging::event_bus::{EventBus, EventBusConfig, EventContext};
//! use intertie_messaging::log::{LogEngine, TopicSpec};
//! # #[cfg(feature = "conformance")]
//! use intertie_messaging::model::Model;
//! use intertie_messaging::{Durability, Name};
//!
//! # #[cfg(feature = "conformance")]
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
//! let engine = Arc::new(Model::new(&WallClock::system()));
//! let topic: Name = "events".parse()?;
//! let spec = TopicSpec { durability: Durability::UNSYNCED, ..TopicSpec::default() };
//! engine.declare_topic(&topic, &spec).await?;
//!
//! let bus = EventBus::new(engine, &topic, EventBusConfig::default(), Events::default())?;
//! bus.subscribe(&"prices".parse()?, "orders.*".parse()?, |event: Envelope, context: EventContext| async move {
//!     println!("{} at {:?}", event.r#type(), context.receipt.position);
//!     Ok(())
//! })?;
//! let published = bus.publish(Envelope::new("7", "/shop", "orders.placed")?).await?;
//! assert_eq!((published.handlers_executed, published.failures.len()), (1, 0));
//! assert!(bus.shut_down().await.in_time);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bus;
mod config;
mod context;
mod counters;
mod publication;
mod published;
mod subscriptions;
#[cfg(test)]
mod tests;

pub use bus::{EventBus, ShutDown};
pub use config::{EventBusConfig, PartitionBy};
pub use context::EventContext;
pub use counters::{EventBusSource, EventBusStats};
pub use published::{HandlerFailure, PublishError, Published, PublishedBatch};
pub use subscriptions::SubscribeError;

/// Runs the snippets of the pattern's page.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/patterns/event-bus.md")]
struct Page;
