//! The vocabulary that every Intertie crate shares.
//!
//! - [`backoff`]: how long to wait before trying again.
//! - [`clock`]: monotonic [`clock::Instant`]s that pure cores take as an argument, and the wall clock.
//! - [`criticality`]: how much a call matters when not all can be served.
//! - [`config`]: options that start from a preset.
//! - [`envelope`]: messages and events, as CloudEvents.
//! - [`percent`]: text with escapes, as URIs and headers have it.
//! - [`quantity`]: durations, rates, ratios and sizes as configuration files spell them.
//! - [`failure`]: what an outcome means to a retry and to a circuit breaker.
//! - [`rejection`]: a policy's refusal, with the hint when to come back.
//! - [`trace`] and [`id`]: trace context, sampling, and request identifiers.
//! - [`span`]: what is recorded of a sampled trace.
//! - [`token`]: the words that HTTP is made of.
//! - [`telemetry`]: what policies publish about themselves, read at scrape time.
//!
//! No runtime and no I/O live here.

pub mod backoff;
pub mod clock;
pub mod config;
pub mod criticality;
pub mod envelope;
pub mod failure;
pub mod id;
pub mod percent;
pub mod quantity;
pub mod rejection;
pub mod span;
pub mod telemetry;
pub mod token;
pub mod trace;
