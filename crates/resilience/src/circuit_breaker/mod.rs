//! Stops calling a dependency that keeps failing, and finds out gently when it is back.
//!
//! *Closed* lets calls pass and watches their outcomes. When too many fail it turns *open* and rejects at
//! once, with the time until it will look again. Then it is *half-open*: a few probes pass; enough
//! successes in a row (`successes_to_close`) close it, one failure opens it again.
//!
//! Every admitted call holds a [`Permit`] of the state that admitted it. An outcome that arrives after the
//! state changed counts for nothing, and a permit that is dropped is given back, so that a half-open
//! breaker can neither be decided by old calls nor wait for ever for a lost one.
//!
//! The pattern is Michael Nygard's (*Release It!*, 2007); the counting rules are those of resilience4j.

mod admission;
mod config;
mod layer;
mod outcomes;
mod permit;
mod shared;
mod state;
#[cfg(test)]
mod tests;
mod window;
mod word;

pub use config::{CircuitBreakerConfig, CircuitBreakerPreset, Mode};
pub use layer::{CircuitBreaker, Stats};
pub use permit::{OwnedPermit, Permit, PermitOn};
pub use state::{Cause, Outcome, Phase, Transition};
pub use window::{ParseWindowError, Window};
