//! Makes one call out of many for the same thing at the same time: the first caller of a key makes it,
//! those who come meanwhile wait for it, and all get the same result.
//!
//! - [`Group`]: the flights under way, one for each key.
//! - [`CoalesceConfig`]: how many keys and callers, and whether a failure is shared.
//! - [`CoalesceError`]: what a caller gets instead of a value.
//!
//! Take it for reads that many callers want at once: a cold cache entry, a token to be renewed, a
//! configuration. It remembers nothing: whoever comes after the flight has ended makes a new call, so it
//! belongs behind a cache, not in its place. Calls of *different* keys become one call in [`crate::batch`].
//!
//! No task is spawned. The flight is driven by its callers, whichever of them is polled: any of them may be
//! cancelled, the one who began it included, and the others take the flight over. When the last one leaves,
//! the operation is dropped.
//!
//! The name and the idea are Go's `golang.org/x/sync/singleflight`.

mod config;
mod error;
mod layer;
mod state;
#[cfg(test)]
mod tests;

pub use config::CoalesceConfig;
pub use error::CoalesceError;
pub use layer::{Group, Stats};
pub use state::{Arrival, Left, Number, State};

/// Runs the snippets of the pattern's page.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/patterns/coalesce.md")]
struct Page;
