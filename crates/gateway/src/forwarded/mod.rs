//! Whom a request is from, when trusted proxies brought it. Pure.

mod chain;
mod element;
mod network;

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use chain::{Origin, origin};
pub use network::{Network, ParseNetworkError};

/// Whose word counts for who the client is.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The proxies that are believed.
    pub proxies: Vec<Network>,
    /// Where they write it.
    pub header: ForwardedHeader,
    /// Whether they introduce each connection without TLS by the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// The same of connections with TLS, and of those that are redirected to it.
    pub tls_proxy_protocol: ProxyProtocol,
}

impl Trust {
    /// Whether `address` is that of a trusted proxy.
    pub(crate) fn covers(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(address))
    }
}

/// Where trusted proxies write whom a request is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Whether connections begin with the header of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// None does.
    #[default]
    Off,
    /// Each does, in version 1 or 2, and comes from a trusted proxy; any other is closed.
    Required,
}
