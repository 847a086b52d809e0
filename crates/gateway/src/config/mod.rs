//! What a file says about traffic: policies, shared limits, services and routes.
//!
//! These structs are the only description of each setting. The server reads them from TOML, the schema
//! and the reference are generated from them, and [`crate::plan`] turns them into what runs.

mod answers;
mod client_limits;
mod http2_limits;
mod policy;
mod problem;
mod route;
mod service;
mod transport;
mod upgrade;

use std::collections::BTreeMap;

pub use answers::{AnswersConfig, Via};
pub use client_limits::ClientLimitsConfig;
pub(crate) use client_limits::UPGRADE_BUFFER_MAX;
pub use http2_limits::Http2LimitsConfig;
pub(crate) use http2_limits::{FRAME_BYTES, continuations_for};
pub(crate) use policy::attempts;
pub use policy::{PolicyConfig, PolicyKey, Time};
pub use problem::{Problem, Severity, nearest};
pub(crate) use route::parse_method;
pub use route::{MatchConfig, Methods, RouteConfig};
pub use service::ServiceConfig;
pub use transport::{Http2Config, Protocol};
pub use upgrade::UpgradeProtocol;

use intertie_resilience::RateLimiterConfig;

/// The traffic part of a file. Maps are ordered by name, so that nothing depends on the order in the file.
#[derive(Debug, Clone, Default)]
pub struct TrafficConfig {
    /// `[defaults]`: the start of every inheritance chain.
    pub defaults: PolicyConfig,
    /// `[policy.NAME]`: templates that services and routes use by name.
    pub policies: BTreeMap<String, PolicyConfig>,
    /// `[limit.NAME]`: rate limiters that routes share.
    pub limits: BTreeMap<String, RateLimiterConfig>,
    /// `[service.NAME]`: where requests go.
    pub services: BTreeMap<String, ServiceConfig>,
    /// `[route."…"]`: which requests go where.
    pub routes: BTreeMap<String, RouteConfig>,
}
