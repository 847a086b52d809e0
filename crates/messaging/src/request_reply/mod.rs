//! Asks by one queue and is answered by another: a question that has one answer, to whoever asked, in time or not at
//! all.
//!
//! - [`Requester`]: asks, waits, and tells late answers from unasked ones; [`RequesterConfig`]: within what bounds.
//! - [`Request`], [`RequestError`]: what is asked, and why there is no answer.
//! - [`Responder`]: answers, as a handler of a [`Consumer`](crate::consumer::Consumer); [`Answer`], [`Fault`]: with what.
//! - [`DEADLINE`], [`FAILURE_CODE`] and the others: how both say so, for those who write one of the sides themselves.
//!
//! ```text
//! Requester                         queue                           Responder
//!   id, replyto, deadline ────────► request ───── lease ──────────► in time? a place to answer?
//!   waits, until its deadline                                             │
//!   causationid = id  ◄─────────── NAME.replies ◄── one commit: ack, reply, effects
//!   or late, or unasked: counted
//! ```
//!
//! A reply answers the request whose `id` is its `causationid`. The `correlationid` is not made for that: it is what all
//! messages of a flow share, and goes through requests and replies as it came.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use intertie_core::clock::WallClock;
//! use intertie_core::envelope::Envelope;
//! use intertie_core::telemetry::Events;
//! use intertie_messaging::consumer::{Consumer, ConsumerConfig};
//! # #[cfg(feature = "conformance")]
//! use intertie_messaging::model::Model;
//! use intertie_messaging::queue::{QueueEngine, QueueSpec};
//! use intertie_messaging::request_reply::{Answer, Requester, RequesterConfig, Responder, ResponderConfig};
//! use intertie_messaging::{Durability, Name};
//!
//! # #[cfg(feature = "conformance")]
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
//! let (clock, events) = (WallClock::system(), Events::default());
//! let engine = Arc::new(Model::new(&clock));
//! let (quotes, shop, sales): (Name, Name, Name) = ("quotes".parse()?, "shop".parse()?, "sales".parse()?);
//! let spec = QueueSpec { durability: Durability::UNSYNCED, ..QueueSpec::default() };
//! engine.declare_queue(&quotes, &spec).await?;
//!
//! let config = ResponderConfig::default();
//! let responder = Responder::new(engine.clone(), &sales, config, clock.clone(), events.clone())?;
//! let respond = responder.respond(|request: Envelope, _| async move {
//!     Ok(Answer::from(Envelope::new(request.id(), "/sales", "quote.given")?))
//! });
//! let consumer =
//!     Consumer::new(engine.clone(), &quotes, &spec, &sales, ConsumerConfig::default(), events.clone())?;
//! tokio::spawn(consumer.run(respond, std::future::pending()));
//!
//! let requester = Requester::start(engine, &shop, RequesterConfig::default(), clock, events).await?;
//! let reply = requester.request(&quotes, Envelope::new("7", "/shop", "quote.asked")?).await?;
//! assert_eq!((reply.r#type(), reply.causation_id().as_deref()), ("quote.given", Some("7")));
//! assert!(requester.shut_down().await.in_time);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod counters;
mod fault;
mod pending;
mod replies;
mod request;
mod requester;
mod responder;
mod responders;
#[cfg(test)]
mod tests;
mod wire;

pub use config::{RequesterConfig, ResponderConfig};
pub use counters::{RequesterSource, RequesterStats, ResponderSource, ResponderStats};
pub use fault::Fault;
pub use request::{Request, RequestError, RequesterError, Responders};
pub use requester::{Requester, ShutDown};
pub use responder::{Answer, Respond, Responder};
pub use wire::{DEADLINE, FAILED, FAILURE_CODE, FAILURE_RETRY_AFTER, FAILURE_RETRYABLE};

/// Runs the snippets of the pattern's page.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/patterns/request-reply.md")]
struct Page;
