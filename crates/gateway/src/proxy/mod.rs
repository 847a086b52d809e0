//! One thread per core, each with its own runtime, listeners and connections to services; only the plan's
//! state (breakers, quotas, bulkheads, budgets, balancers) is shared.
//!
//! An exchange runs through [`exchange`] from head to last byte; each attempt of it is an
//! [`attempt::Attempt`], a guard that resolves the breaker's permit, the outlier record and the counters
//! exactly once, however the exchange ends.

mod answer;
mod attempt;
mod body;
mod connection;
mod exchange;
mod gateway;
mod headers;
mod pool;
mod worker;

pub use answer::ErrorCode;
pub use gateway::{Gateway, GatewayConfig};
pub use worker::AccessSink;
