//! What keeps a caller standing while its dependency falls.
//!
//! | pattern | question it answers |
//! |---|---|
//! | [`rate_limiter`] | may this caller call now, given how often it called before? |
//! | [`bulkhead`] | is there room for one more call at the same time? |
//! | [`pool`] | is there an open connection for this call, or room for one more? |
//! | [`deadline`] | how long may the whole call, and one attempt of it, still take? |
//! | [`retry`] | is another attempt worth it, when, and can we afford it? |
//! | [`circuit_breaker`] | has this dependency failed so often that calling it only hurts? |
//! | [`fallback`] | what may be answered instead when the call failed? |
//! | [`chaos`] | what would happen if this dependency failed now? |
//! | [`registry`] | which pipelines are there, with what in common, and how do they fare? |
//! | [`pipeline`] | all of these around one call, in the order that works |
//! | [`coalesce`] | does somebody already make this very call? |
//! | [`batch`] | can calls that come together go as one? |
//! | [`hedge`] | is a second attempt worth it while the first is still under way? |
//! | [`timeout`] | how long may one operation outside of a pipeline take, and what becomes of it then? |
//! | `simulate` (feature `simulate`) | what would these policies make of an outage, before there is one? |
//! | `tower` | how does a pipeline come around a service of axum, tonic or hyper? (feature `tower`) |
//!
//! Each pattern is a pure core that takes `now` and returns a decision, under a shell that adds a lock,
//! a clock and, where a caller may have to wait, a future. The order in which they nest is fixed:
//! deadline, rate limiter, bulkhead, retry, hedge, circuit breaker (one for each endpoint), attempt timeout, chaos.
//! `coalesce` stands outside all of them, and `batch` is itself a call that they may guard.

pub mod batch;
pub mod bulkhead;
pub mod chaos;
pub mod circuit_breaker;
pub mod coalesce;
pub mod deadline;
pub mod fallback;
pub mod hedge;
pub mod pipeline;
pub mod pool;
pub mod rate_limiter;
pub mod registry;
pub mod retry;
#[cfg(feature = "simulate")]
pub mod simulate;
pub mod timeout;
#[cfg(feature = "tower")]
pub mod tower;

#[cfg(test)]
mod by_hand;
mod clock;
mod divisor;
mod flight;
mod striped;
mod sync;
mod window;

pub use batch::{BatchConfig, Batcher};
pub use bulkhead::{Bulkhead, BulkheadConfig};
pub use chaos::{Chaos, ChaosConfig};
pub use circuit_breaker::{CircuitBreaker, CircuitBreakerConfig};
pub use clock::MonotonicClock;
pub use coalesce::{CoalesceConfig, Group};
pub use hedge::{Hedge, HedgeConfig};
pub use pipeline::{CallError, Pipeline, PipelineConfig};
pub use pool::{Pool, PoolConfig};
pub use rate_limiter::{RateLimiter, RateLimiterConfig};
pub use registry::Registry;
pub use retry::{RetryBudget, RetryConfig};
#[cfg(feature = "simulate")]
pub use simulate::{Simulation, SimulationConfig};
pub use timeout::{Timeout, TimeoutConfig};
