//! The header by which a proxy tells whose connection it passes on: version 1 in words, version 2 in bytes
//! (*The PROXY protocol*, HAProxy). Pure.

mod v1;
mod v2;

use std::fmt;
use std::net::IpAddr;

use crate::stats::Counter;

pub(crate) use v1::{LINE_BYTES_MAX, v1_source};
pub(crate) use v2::{HEAD_BYTES, SIGNATURE, v2_head, v2_source};

/// What the shortest header of either version has at least, and tells them apart.
pub(crate) const BEGIN_BYTES: usize = SIGNATURE.len();

/// Which version a header that begins so is of.
pub(crate) fn version(begin: &[u8; BEGIN_BYTES]) -> Option<Version> {
    match begin {
        begin if begin == SIGNATURE => Some(Version::V2),
        [b'P', b'R', b'O', b'X', b'Y', b' ', ..] => Some(Version::V1),
        _ => None,
    }
}

/// The versions of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// Whom a connection is from, as its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A client.
    Client(IpAddr),
    /// The proxy that wrote the header.
    Proxy,
    /// Somebody of whom the proxy says nothing.
    Unknown,
}

/// Why a connection is closed before its first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It does not come from a trusted proxy.
    Untrusted,
    /// It does not begin with a header.
    Missing,
    /// The header does not say what it should.
    Malformed,
    /// The header did not come in time.
    TimedOut,
}

impl Refusal {
    const ALL: [Self; 4] = [Self::Untrusted, Self::Missing, Self::Malformed, Self::TimedOut];

    /// Its name in metrics and events.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::TimedOut => "timed_out",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untrusted => "it is none of trusted_proxies",
            Self::Missing => "it does not begin with a header of the PROXY protocol",
            Self::Malformed => "its header of the PROXY protocol is malformed",
            Self::TimedOut => "its header of the PROXY protocol took longer than header_timeout",
        })
    }
}

/// Connections that were closed, by reason.
#[derive(Debug, Default)]
pub(crate) struct ProxyProtocolStats([Counter; Refusal::ALL.len()]);

impl ProxyProtocolStats {
    pub(crate) fn refused(&self, refusal: Refusal) {
        self.0[refusal as usize].increment();
    }

    /// Reason and count of all refusals.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refusal::ALL.iter().zip(&self.0).map(|(refusal, counter)| (refusal.name(), counter.get()))
    }
}
