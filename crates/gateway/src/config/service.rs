use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::quantity::{self, DurationText};
use intertie_discovery::balance::Balance;
use intertie_discovery::endpoint::EndpointConfig;
use intertie_discovery::health_check::HealthCheckConfig;
use intertie_discovery::outlier::OutlierConfig;
use schemars::JsonSchema;
use serde::Deserialize;

use super::policy::Time;
use super::{Http2Config, Protocol};
use crate::tls::ServiceTlsConfig;

/// `[service.NAME]`: the endpoints that answer, and how one of them is chosen.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Service")]
pub struct ServiceConfig {
    /// Where the service listens: `[{ at = "127.0.0.1:7001", weight = 9 }]`.
    pub endpoints: Vec<EndpointConfig>,
    /// How one of them is chosen: `round_robin` (the default), `weighted_round_robin`, `least_requests`
    /// or `p2c_ewma`.
    #[serde(default)]
    pub balance: Balance,
    /// Requests that ask each endpoint whether it is well. Default: none are sent.
    #[serde(default)]
    pub health_check: Option<HealthCheckConfig>,
    /// Takes an endpoint out of the choice for a while after failures in a row. Default: none is taken.
    #[serde(default)]
    pub outlier: Option<OutlierConfig>,
    /// The policy that applies to every call of this service, by the name of its `[policy.NAME]` table.
    #[serde(rename = "use", default)]
    pub uses: Option<String>,
    /// What one call of this service may take, whoever calls it and however often it is tried. Shortens
    /// the deadline of every route to it.
    #[serde(default)]
    pub deadline: Option<Time>,
    /// The services that this one calls while it answers, one after the other: the chain that
    /// `intertie check` proves.
    #[serde(default)]
    pub calls: Vec<String>,
    /// The version of HTTP that the service is spoken to in: `http1` (the default), `http2`, or `negotiate`,
    /// which leaves it to the service and needs TLS.
    #[serde(default)]
    pub protocol: Protocol,
    /// The bounds of HTTP/2 connections. Needs another `protocol` than `http1`.
    #[serde(default)]
    pub http2: Option<Http2Config>,
    /// TLS towards the service: `true` for one with a certificate that the system trusts, or a table.
    /// Default: none.
    #[serde(default, deserialize_with = "crate::tls::deserialize_service_tls")]
    #[schemars(schema_with = "crate::tls::service_tls_schema")]
    pub tls: Option<ServiceTlsConfig>,
    /// The longest that opening a connection may take, the handshake of TLS included; must be shorter than the
    /// attempt timeouts of its routes. Default "3s", or less where an attempt ends before:
    /// the kernel repeats a lost SYN after one second.
    #[serde(default)]
    pub connect_timeout: Option<Time>,
    /// Idle connections that each data thread keeps open to each endpoint. Default 128.
    #[serde(default = "idle_connections_max_default")]
    pub idle_connections_max: NonZeroU32,
    /// How long an idle connection is kept. Keep it below the service's own limit. Default "30s".
    #[serde(default = "idle_timeout_default", with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub idle_timeout: Duration,
}

fn idle_connections_max_default() -> NonZeroU32 {
    NonZeroU32::new(128).expect("128 is not zero")
}

fn idle_timeout_default() -> Duration {
    Duration::from_secs(30)
}
