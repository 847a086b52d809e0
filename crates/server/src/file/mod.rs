//! The TOML file: its model, its positions, and what is said when it is wrong.

mod access_log;
mod api;
mod audit_log;
mod diagnostic;
mod load;
mod places;
mod queues;
mod script;
mod secret;
mod source;
mod token;
mod traces;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use intertie_core::quantity::{self, DurationText};
use intertie_gateway::config::{AnswersConfig, ClientLimitsConfig, PolicyConfig, RouteConfig, ServiceConfig};
use intertie_gateway::forwarded::{ForwardedHeader, Network, ProxyProtocol};
use intertie_gateway::tls::{CertificateConfig, TlsConfig};
use intertie_messaging::queue::QueueSpec;
use intertie_resilience::RateLimiterConfig;
use schemars::{JsonSchema, Schema};
use serde::Deserialize;

pub(crate) use access_log::{AccessLogConfig, AccessLogFormat, AccessLogSetting};
pub(crate) use api::{ApiLimitsConfig, opened_to_everyone};
pub(crate) use audit_log::AuditLogConfig;
pub(crate) use load::Loaded;
pub(crate) use script::{Script, script_schema};
pub(crate) use secret::SecretReference;
pub(crate) use token::{Secret, TokenConfig, Verb};
pub(crate) use traces::{TracesConfig, host as collector_host};

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
    /// The durable queues that the API serves.
    pub(crate) queue: BTreeMap<String, QueueSpec>,
    /// The clients of the API. With any, nobody without one is served.
    pub(crate) token: BTreeMap<String, TokenConfig>,
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
    /// The address of the API of queues. Away from loopback it wants `api_certificate` and tokens. Default: "127.0.0.1:8081" when the file has a queue; else
    /// there is none, and no data directory.
    #[schemars(with = "Option<String>")]
    pub(crate) api: Option<SocketAddr>,
    /// The `[certificate.NAME]` that clients of the API are shown; with it the API is spoken to with TLS alone, in the
    /// versions of `[tls]`. Default: none, without TLS.
    pub(crate) api_certificate: Option<String>,
    /// The directory that everything durable is in, of this server alone. A relative path begins in the folder of the
    /// file. Default "data".
    #[schemars(with = "Option<String>")]
    pub(crate) data: Option<PathBuf>,
    /// What a client of the API may take.
    pub(crate) api_limits: ApiLimitsConfig,
    /// Data threads. Default: one for each core that the process may use, by its affinity and its share of
    /// processor time.
    pub(crate) threads: Option<NonZeroUsize>,
    /// Where finished requests are told: "stdout" (the default), "off", the path of a file, or a table that
    /// says which of them and how much of each.
    pub(crate) access_log: AccessLogSetting,
    /// How long requests under way may take after SIGTERM or SIGINT, in the old process of a takeover, and on
    /// threads that a reload replaced. Default "30s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub(crate) drain: Duration,
    /// How long the new process of a takeover may take until it accepts. Default "30s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub(crate) takeover_timeout: Duration,
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
            api: None,
            api_certificate: None,
            data: None,
            api_limits: ApiLimitsConfig::default(),
            threads: None,
            access_log: AccessLogSetting::default(),
            drain: Duration::from_secs(30),
            takeover_timeout: Duration::from_secs(30),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            proxy_protocol: ProxyProtocol::default(),
            client_limits: ClientLimitsConfig::default(),
            answers: AnswersConfig::default(),
            metric_series_max: NonZeroU32::new(1_000_000).expect("1000000 is not zero"),
            ready: ReadyConfig::default(),
            traces: None,
            audit_log: None,
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
