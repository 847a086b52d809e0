//! One thread per core, each with its own runtime, listening sockets and connections to services; only the plan's
//! state (breakers, quotas, bulkheads, budgets, balancers) is shared.
//!
//! A request is a `call::call` under its route's policies, and an `exchange::Exchange` that accounts for
//! it from head to last byte; each attempt is an
//! `attempt::Attempt`, a guard that resolves the breaker's permit, the outlier record and the counters
//! exactly once, however the exchange ends.

mod acceptance;
mod admission;
mod answer;
mod attempt;
mod attempts;
mod body;
mod call;
mod client;
mod connection;
mod drive;
mod error_code;
mod exchange;
mod gateway;
mod generation;
mod handover;
mod headers;
mod introduction;
mod io;
mod listener;
mod observed;
mod pool;
mod rate_limit;
mod redirect;
mod signature;
mod sockets;
mod telemetry;
mod tls;
mod worker;

pub use error_code::ErrorCode;
pub use gateway::{Addresses, Gateway, GatewayConfig, Retired, TlsListeners};
pub use handover::{HandedOver, Role};
pub use worker::AccessSink;
