//! One thread per core, each with its own runtime, listeners and connections to services; only the plan's
//! state (breakers, quotas, bulkheads, budgets, balancers) is shared.
//!
//! A request is a `call::call` under its route's policies, and an `exchange::Exchange` that accounts for
//! it from head to last byte; each attempt is an
//! `attempt::Attempt`, a guard that resolves the breaker's permit, the outlier record and the counters
//! exactly once, however the exchange ends.

mod access;
mod admission;
mod answer;
mod attempt;
mod attempts;
mod audit;
mod body;
mod call;
mod client;
mod connection;
mod drive;
mod exchange;
mod gateway;
mod headers;
mod io;
mod listener;
mod observed;
mod pool;
mod redirect;
mod telemetry;
mod tls;
mod trace;
mod worker;

pub use access::{AccessLogging, AccessSink, AccessTerms};
pub use answer::ErrorCode;
pub use audit::AuditConfig;
pub use gateway::{Addresses, Gateway, GatewayConfig, TlsListeners};
pub use trace::{SpanSink, Tracing};
