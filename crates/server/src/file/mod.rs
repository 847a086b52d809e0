//! The TOML file: its model, its positions, and what is said when it is wrong.

mod access_log;
mod audit_log;
mod diagnostic;
mod load;
mod places;
mod script;
mod secret;
mod source;
mod traces;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use intertie_core::quantity::{self, DurationText};
use intertie_gateway::config::{ClientLimitsConfig, PolicyConfig, RouteConfig, ServiceConfig};
use intertie_gateway::tls::{CertificateConfig, TlsConfig};
use intertie_resilience::RateLimiterConfig;
use schemars::{JsonSchema, Schema};
use serde::Deserialize;

pub(crate) use access_log::{AccessLogConfig, AccessLogFormat, AccessLogSetting};
pub(crate) use audit_log::AuditLogConfig;
pub(crate) use load::Loaded;
pub(crate) use script::{Script, script_schema};
pub(crate) use secret::SecretReference;
pub(crate) use traces::TracesConfig;

/// The file as a whole.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "intertie.toml")]
pub(crate) struct File {
    /// The process: where it listens and how it ends.
    pub(crate) server: ServerConfig,
    /// Where clients are met with TLS, and under which terms.
    pub(crate) tls: TlsConfig,
    /// The certificates that clients are shown.
    pub(crate) certificate: BTreeMap<String, CertificateConfig>,
    /// Policy keys that apply wherever nothing else is said.
    pub(crate) defaults: PolicyConfig,
    /// Policies that services and routes use by name.
    pub(crate) policy: BTreeMap<String, PolicyConfig>,
    /// Rate limiters that routes share by name.
    pub(crate) limit: BTreeMap<String, RateLimiterConfig>,
    /// Where requests go.
    pub(crate) service: BTreeMap<String, ServiceConfig>,
    /// Which requests go where.
    pub(crate) route: BTreeMap<String, RouteConfig>,
}

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Server")]
pub(crate) struct ServerConfig {
    /// The addresses that take requests without TLS; empty where all take them with it. Default
    /// ["127.0.0.1:8080"].
    #[schemars(with = "Vec<String>")]
    pub(crate) listen: Vec<SocketAddr>,
    /// The address of metrics and health, on loopback only. Default "127.0.0.1:9901".
    #[schemars(with = "String")]
    pub(crate) admin: SocketAddr,
    /// Data threads. Default: one for each core that the process may use.
    pub(crate) threads: Option<NonZeroUsize>,
    /// Where finished requests are told: "stdout" (the default), "off", the path of a file, or a table that
    /// says which of them and how much of each.
    pub(crate) access_log: AccessLogSetting,
    /// How long requests under way may take after SIGTERM. Default "30s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub(crate) drain: Duration,
    /// What a client may take.
    pub(crate) client_limits: ClientLimitsConfig,
    /// Which requests are recorded as traces, and who collects them. Default: none.
    pub(crate) traces: Option<TracesConfig>,
    /// The most series of metrics that the file may make. Default 1000000.
    pub(crate) metric_series_max: NonZeroU32,
    /// What the server needs to be ready.
    pub(crate) ready: ReadyConfig,
    /// Where auditors read what policies and operators decided. Default: nowhere.
    pub(crate) audit_log: Option<AuditLogConfig>,
}

/// `[server.ready]`: what the server needs to be ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Ready")]
pub(crate) struct ReadyConfig {
    /// The services without which `/health/ready` answers 503: those of which no endpoint can be used. Default
    /// none.
    pub(crate) services: Vec<String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8080))],
            admin: SocketAddr::from(([127, 0, 0, 1], 9901)),
            threads: None,
            access_log: AccessLogSetting::default(),
            drain: Duration::from_secs(30),
            client_limits: ClientLimitsConfig::default(),
            metric_series_max: NonZeroU32::new(1_000_000).expect("1000000 is not zero"),
            ready: ReadyConfig::default(),
            traces: None,
            audit_log: None,
        }
    }
}

/// The JSON Schema of the file.
pub(crate) fn schema() -> Schema {
    schemars::schema_for!(File)
}
