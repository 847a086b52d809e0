//! One thread per core, each with its own runtime and connections to services, and duplicates of the listening
//! sockets; only the plan's state (breakers, quotas, bulkheads, budgets, balancers) is shared.
//!
//! A request is a `call::call` under its route's policies, and an `exchange::Exchange` that accounts for it from
//! head to last byte; each attempt is an `attempt::Attempt`, a guard that resolves the breaker's permit, the
//! outlier record and the counters exactly once, however the exchange ends.

mod abort_on_drop;
mod accept_failure;
mod acceptance;
mod access;
mod admission;
mod answer;
mod attempt;
mod attempts;
mod audit;
mod body;
mod busy;
mod call;
mod client;
mod client_stream;
mod connect;
mod connect_request;
mod connection;
mod data_thread;
pub(crate) mod dial;
mod drive;
mod error_code;
mod exchange;
mod exhausted;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod gateway;
mod generation;
mod handover;
mod headers;
mod held;
mod inspected;
mod introduction;
pub(crate) mod io;
mod listener;
mod multiplexed;
mod observed;
mod observed_frames;
mod opening;
mod patience;
mod pool;
mod preface;
mod proxy_error;
mod rate_limit;
mod readable;
mod redirect;
mod reset;
mod seldom;
mod send;
mod signature;
mod sockets;
mod stream_end;
mod streams;
mod switch;
mod telemetry;
mod tls;
mod trace;
pub(crate) mod translate;
mod tunnel;
mod upgrade;
mod upgraded;
mod worker;

pub use access::{AccessLogging, AccessSink, AccessTerms};
pub use audit::AuditConfig;
pub(crate) use drive::Cut;
pub use error_code::ErrorCode;
pub use gateway::{Addresses, Gateway, GatewayConfig, Retired, TlsListeners};
pub use handover::{HandedOver, Role};
pub use trace::{SpanSink, TraceParents, Tracing};
