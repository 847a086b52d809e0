//! The message that every queue, topic, bus and HTTP API carries: a CloudEvent, version 1.0.2
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>).
//!
//! - [`Envelope`]: an event. One that is not valid can not be made.
//! - [`Data`]: what it carries; JSON stays byte for byte what it was.
//! - [`structured`], [`batch`], [`binary`]: how events come and go; [`Mode`] tells which of them came.
//! - [`Limits`]: how large what comes may be.
//! - [`extensions`]: correlation, causation, trace, expiry and the others that Intertie knows.
//! - [`shapes`]: events and messages as other systems write them, to and from an [`Envelope`].
//! - [`EnvelopeError`]: which attribute is wrong, and why.
//!
//! Ids and times are arguments: [`crate::id::Id::random`] and [`crate::clock::WallClock::now`] give them.

mod attribute;
pub mod base64;
pub mod batch;
pub mod binary;
mod data;
mod error;
mod event;
pub mod extensions;
mod header_value;
mod json;
mod limits;
mod media_type;
mod mode;
pub mod shapes;
pub mod structured;
#[cfg(test)]
mod tests;
mod time;
mod uri;

pub use attribute::AttributeValue;
pub use data::{Data, Form};
pub use error::{EnvelopeError, NAME_SHOWN_MAX, Reason};
pub use event::Envelope;
pub use limits::Limits;
pub use mode::Mode;
pub use time::{ParseTimeError, Time};

/// Runs the snippets of the pattern's page.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/patterns/envelope.md")]
struct Page;
