//! What a proxy is asked to do.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail};

use crate::origin::{BODY_BYTES, LARGE_BODY_BYTES, LARGE_PATH};

/// Routes configured in [`Mode::Work`] under load.
pub const ROUTES: usize = 1_000;

/// Of these routes so many carry load, spread evenly over the table: position in it must not decide the figure.
const ROUTES_LOADED: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// HTTP/1.1, one route, everything to the origin, no policies.
    Plain,
    /// HTTP/1.1, 1,000 routes, each with the policies and headers of a gateway.
    Work,
    /// As plain, with cleartext HTTP/2 (prior knowledge) in front and HTTP/1.1 behind.
    H2,
    /// As plain, over kept connections with TLS 1.3.
    Tls,
    /// A new connection for each request, with a full TLS 1.3 handshake.
    Handshake,
    /// A new connection for each request, with the session of an earlier one.
    Resumed,
    /// As plain, with answers of 1 MiB.
    Large,
    /// As plain, with requests of 1 MiB.
    Upload,
    /// As plain, at a fixed rate that nginx is not at its limit with: what the latencies mean something for.
    Steady,
}

/// How the load generator speaks to the subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// HTTP/1.1 on kept connections, as fast as it is answered.
    Kept,
    /// HTTP/2 on kept connections, as fast as it is answered.
    Multiplexed,
    /// HTTP/1.1 on kept connections, at a fixed rate.
    Paced,
    /// HTTP/1.1 over TLS, a connection for each request.
    Connecting,
}

impl Mode {
    pub const ALL: [Self; 9] = [
        Self::Plain,
        Self::Work,
        Self::H2,
        Self::Tls,
        Self::Handshake,
        Self::Resumed,
        Self::Large,
        Self::Upload,
        Self::Steady,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Work => "work",
            Self::H2 => "h2",
            Self::Tls => "tls",
            Self::Handshake => "handshake",
            Self::Resumed => "resumed",
            Self::Large => "large",
            Self::Upload => "upload",
            Self::Steady => "steady",
        }
    }

    /// One line for the report.
    pub fn title(self) -> &'static str {
        match self {
            Self::Plain => "one route, HTTP/1.1",
            Self::Work => "gateway work, 1,000 routes, HTTP/1.1",
            Self::H2 => "one route, HTTP/2 (h2c) in front, HTTP/1.1 behind",
            Self::Tls => "one route, HTTP/1.1 over kept connections with TLS 1.3",
            Self::Handshake => "a TLS 1.3 handshake in full for each request",
            Self::Resumed => "a resumed TLS 1.3 session for each request",
            Self::Large => "one route, HTTP/1.1, answers of 1 MiB",
            Self::Upload => "one route, HTTP/1.1, requests of 1 MiB",
            Self::Steady => "one route, HTTP/1.1, at 70 % of what nginx does",
        }
    }

    pub fn client(self) -> Client {
        match self {
            Self::Plain | Self::Work | Self::Tls | Self::Large | Self::Upload => Client::Kept,
            Self::H2 => Client::Multiplexed,
            Self::Handshake | Self::Resumed => Client::Connecting,
            Self::Steady => Client::Paced,
        }
    }

    /// Whether the subject speaks TLS.
    pub fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Handshake | Self::Resumed)
    }

    pub fn scheme(self) -> &'static str {
        if self.has_tls() { "https" } else { "http" }
    }

    /// The size of every answer's body.
    pub fn body_bytes(self) -> usize {
        if self == Self::Large { LARGE_BODY_BYTES } else { BODY_BYTES }
    }

    /// The paths requested: the same in every mode with the same answers, so that modes differ by what the proxy does
    /// with them.
    pub fn paths(self) -> Vec<String> {
        if self == Self::Large { vec![LARGE_PATH.to_owned()] } else { loaded_paths() }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mode {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|mode| mode.name() == name) {
            Some(mode) => Ok(mode),
            None => bail!("unknown mode {name:?}"),
        }
    }
}

/// The prefix that all paths of one route share: `/service-17/items/`.
pub fn route_prefix(route: usize) -> String {
    format!("/service-{route}/items/")
}

pub fn loaded_paths() -> Vec<String> {
    (0..ROUTES_LOADED).map(|index| format!("{}42", route_prefix(index * ROUTES / ROUTES_LOADED))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_spread_over_the_whole_table() {
        let paths = loaded_paths();
        assert_eq!(paths.len(), ROUTES_LOADED);
        assert_eq!(paths.first().map(String::as_str), Some("/service-0/items/42"));
        assert_eq!(paths.last().map(String::as_str), Some("/service-937/items/42"));
    }
}
