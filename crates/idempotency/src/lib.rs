//! A request that comes twice is done once.
//!
//! - `Idempotent`: puts it around what answers HTTP.
//! - [`Key`]: what a client calls its request; [`Fingerprint`]: what tells two requests under one key apart.
//! - [`record`]: what is decided.
//! - [`Store`]: where records are kept, within [`Bounds`].
//!
//! HTTP is the feature `http`, which is on by default; what only keeps records goes without.
//!
//! | the request comes | and is answered |
//! |---|---|
//! | for the first time | by whoever does it |
//! | for the first time, while as much is remembered as may be | 503, with the name of the bound |
//! | again, while it is under way | 409, with the time after which to ask again |
//! | again, within `kept` after it was answered | as it was then, marked `Idempotent-Replayed: true` |
//! | again under the same key, with another target or content | 422 |
//! | again, after it was answered 429 or 503 | by whoever does it: it was not done before |
//! | again, after its process died, or its answer could not be stored, and `in_flight_timeout` is over | by whoever does it: how far it came is not known |
//!
//! The last row is why a fence is handed out with each beginning: what the dead process was about to say when it wakes
//! up again is refused. An effect that must not happen twice even then belongs in the transaction that completes the
//! record: whoever does the request is told what it is known by (`Begun`).

#[cfg(feature = "http")]
mod answer;
#[cfg(feature = "http")]
mod begun;
mod bounds;
#[cfg(feature = "http")]
mod config;
mod fingerprint;
#[cfg(feature = "http")]
mod idempotent;
#[cfg(feature = "http")]
mod keeping;
mod key;
pub mod record;
mod store;

#[cfg(all(test, feature = "http"))]
mod tests;

#[cfg(feature = "http")]
pub use answer::{Answer, InvalidAnswer};
#[cfg(feature = "http")]
pub use begun::{Begun, Completion};
pub use bounds::{Bounds, Full, Usage};
#[cfg(feature = "http")]
pub use config::IdempotencyConfig;
pub use fingerprint::Fingerprint;
#[cfg(feature = "http")]
pub use idempotent::{IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED, Idempotent, Refused};
pub use key::{InvalidKey, Key};
pub use record::{Decision, Lost, Record, State};
pub use store::{Pending, Store, StoreError};
