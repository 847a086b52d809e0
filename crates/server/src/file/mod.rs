//! The TOML file: its model, its positions, and what is said when it is wrong.

mod diagnostic;
mod load;
mod places;
mod script;
mod source;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use intertie_core::quantity::{self, DurationText};
use intertie_gateway::config::{AnswersConfig, ClientLimitsConfig, PolicyConfig, RouteConfig, ServiceConfig};
use intertie_gateway::forwarded::{ForwardedHeader, Network, ProxyProtocol};
use intertie_gateway::tls::{CertificateConfig, TlsConfig};
use intertie_resilience::RateLimiterConfig;
use schemars::{JsonSchema, Schema};
use serde::Deserialize;

pub(crate) use load::Loaded;
pub(crate) use script::{Script, script_schema};

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
    /// Data threads. Default: one for each core that the process may use, by its affinity and its share of
    /// processor time.
    pub(crate) threads: Option<NonZeroUsize>,
    /// Where finished requests are logged: "stdout" (the default), "off", or the path of a file.
    pub(crate) access_log: String,
    /// How the access log looks: `json` (the default) or `text`.
    pub(crate) access_log_format: AccessLogFormat,
    /// How long requests under way may take after SIGTERM. Default "30s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub(crate) drain: Duration,
    /// How long the new process of an upgrade may take until it could serve. Default "30s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub(crate) upgrade_timeout: Duration,
    /// The addresses of proxies that are believed whom a request is from, and prefixes such as "10.0.0.0/8".
    /// Default: none, and what any client writes of it is replaced.
    pub(crate) trusted_proxies: Vec<Network>,
    /// Where they write it: `x_forwarded_for` (the default), with `X-Forwarded-Proto` and `X-Forwarded-Host`, or
    /// `forwarded`. The other is replaced.
    pub(crate) forwarded_header: ForwardedHeader,
    /// Whether each connection to `listen` begins with the header of the PROXY protocol, in version 1 or 2, from
    /// one of `trusted_proxies`: `required` or `off` (the default). Any other connection is then closed.
    pub(crate) proxy_protocol: ProxyProtocol,
    /// What a client may take.
    pub(crate) client_limits: ClientLimitsConfig,
    /// What the gateway says of itself.
    pub(crate) answers: AnswersConfig,
}

/// How the access log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AccessLogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// Words for people.
    Text,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8080))],
            admin: SocketAddr::from(([127, 0, 0, 1], 9901)),
            threads: None,
            access_log: "stdout".to_owned(),
            access_log_format: AccessLogFormat::Json,
            drain: Duration::from_secs(30),
            upgrade_timeout: Duration::from_secs(30),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            proxy_protocol: ProxyProtocol::default(),
            client_limits: ClientLimitsConfig::default(),
            answers: AnswersConfig::default(),
        }
    }
}

impl ServerConfig {
    /// Data threads that there are to be: those of the file, or as many as the machine grants now.
    pub(crate) fn threads(&self) -> NonZeroUsize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }
}

/// The JSON Schema of the file.
pub(crate) fn schema() -> Schema {
    schemars::schema_for!(File)
}
