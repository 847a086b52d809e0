//! What users see of the whole server: real processes, real sockets, real signals.

#![expect(clippy::disallowed_methods, reason = "real processes and sockets need real time")]

mod harness;

mod access_log;
mod answers;
mod api;
mod audit_log;
mod cli;
mod client_address;
mod client_limits;
mod clients;
mod corpus;
mod docs;
mod faults;
mod grpc;
mod http2;
mod keys;
mod lifecycle;
mod memory;
mod metrics;
mod operation;
mod panics;
mod policies;
mod regressions;
mod reload;
mod streams;
mod tls;
mod traces;
mod traffic;
mod training;
mod upstream;
