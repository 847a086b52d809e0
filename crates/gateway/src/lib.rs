//! The HTTP data plane: takes requests, chooses their route and endpoint, and carries them there under
//! the route's policies.
//!
//! - [`config`]: what a file says about traffic.
//! - [`document`]: what a failure is told by; pure.
//! - [`route`]: which route a request takes; pure.
//! - [`plan`]: what runs: effective policies, lint, explanation, and the state that survives a reload.
//! - [`proxy`]: the threads, sockets and exchanges.
//! - [`forwarded`]: whom a request is from, when trusted proxies brought it; pure.
//! - `proxy_protocol`: the same of a connection; pure.
//! - [`health`]: the requests that ask endpoints whether they are well.
//! - [`stats`]: what is counted.
//! - `wire`: whether what arrives is HTTP/1.1 in exactly one way, or HTTP/2 that is no flood; pure.
//! - [`tls`]: certificates for clients and who they are, and whom services must be.

pub mod config;
pub mod document;
mod field;
pub mod forwarded;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod health;
pub mod plan;
pub mod proxy;
mod proxy_protocol;
pub mod route;
pub mod stats;
pub mod tls;
mod wire;
