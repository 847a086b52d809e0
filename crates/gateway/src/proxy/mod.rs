//! One thread per core, each with its own runtime, listeners and connections to services; only the plan's
//! state (breakers, quotas, bulkheads, budgets, balancers) is shared.
//!
//! A request is a `call::call` under its route's policies, and an `exchange::Exchange` that accounts for
//! it from head to last byte; each attempt is an
//! `attempt::Attempt`, a guard that resolves the breaker's permit, the outlier record and the counters
//! exactly once, however the exchange ends.

mod admission;
mod answer;
mod attempt;
mod attempts;
mod body;
mod call;
mod client;
mod connect;
mod connection;
pub(crate) mod dial;
mod drive;
mod exchange;
mod gateway;
mod headers;
pub(crate) mod io;
mod listener;
mod multiplexed;
mod observed;
mod opening;
mod pool;
mod preface;
mod redirect;
mod reset;
mod send;
mod telemetry;
mod tls;
pub(crate) mod translate;
mod worker;

pub use answer::ErrorCode;
pub use gateway::{Addresses, Gateway, GatewayConfig, TlsListeners};
pub use worker::AccessSink;
