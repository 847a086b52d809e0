//! Which headers of a message concern the gateway.

use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};

use super::super::answer::Dialect;
use super::INTERTIE_CLIENT_IDENTITY;
use crate::document::names_problem;

/// What concerns only the connection that it came on; each has its place's bit in [`Present`].
pub(super) static HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Which headers that concern the gateway a message may carry: found in one pass over them, where a look-up for
/// each would cost more than all else that is done for a short message.
///
/// A header that was removed since still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) struct Present(pub(super) u32);

impl Present {
    pub(super) const CONNECTION: Self = Self(1 << 0);
    pub(super) const TE: Self = Self(1 << 1);
    pub(super) const TRANSFER_ENCODING: Self = Self(1 << 2);
    pub(in crate::proxy) const UPGRADE: Self = Self(1 << 3);
    pub(super) const HOP_BY_HOP: Self = Self((1 << HOP_BY_HOP.len()) - 1);
    pub(in crate::proxy) const FORWARDED: Self = Self(1 << 8);
    pub(in crate::proxy) const TRACE: Self = Self(1 << 9);
    pub(super) const CORRELATION_ID: Self = Self(1 << 10);
    pub(super) const GRPC_TIMEOUT: Self = Self(1 << 11);
    pub(super) const INTERTIE_DEADLINE: Self = Self(1 << 12);
    /// What says how much time the caller leaves.
    pub(super) const TIME: Self = Self(Self::GRPC_TIMEOUT.0 | Self::INTERTIE_DEADLINE.0);
    pub(super) const ATTEMPT: Self = Self(1 << 13);
    pub(super) const COOKIE: Self = Self(1 << 14);
    pub(super) const CONTENT_LENGTH: Self = Self(1 << 15);
    pub(super) const IDEMPOTENCY_KEY: Self = Self(1 << 16);
    pub(super) const CLIENT_IDENTITY: Self = Self(1 << 17);
    /// An `Accept` that names problem documents.
    pub(in crate::proxy) const PROBLEM: Self = Self(1 << 18);
    /// A `Content-Type` of gRPC.
    pub(in crate::proxy) const GRPC: Self = Self(1 << 19);
    pub(in crate::proxy) const EXPECT: Self = Self(1 << 20);
    pub(in crate::proxy) const VIA: Self = Self(1 << 21);

    pub(in crate::proxy) fn among(headers: &HeaderMap) -> Self {
        let of = |(name, value): (&HeaderName, &HeaderValue)| match name.as_str() {
            "accept" if names_problem(value.as_bytes()) => Self::PROBLEM,
            "content-type" if Dialect::of(value.as_bytes()).is_some() => Self::GRPC,
            name => Self::of(name),
        };
        Self(headers.iter().fold(0, |bits, header| bits | of(header).0))
    }

    pub(super) fn of(name: &str) -> Self {
        match name {
            "connection" => Self::CONNECTION,
            "te" => Self::TE,
            "transfer-encoding" => Self::TRANSFER_ENCODING,
            "upgrade" => Self::UPGRADE,
            "proxy-authenticate" => Self(1 << 4),
            "proxy-authorization" => Self(1 << 5),
            "keep-alive" => Self(1 << 6),
            "proxy-connection" => Self(1 << 7),
            "forwarded" => Self::FORWARDED,
            "traceparent" | "tracestate" | "b3" | "x-b3-traceid" | "x-b3-spanid" | "x-b3-sampled"
            | "x-b3-flags" | "x-b3-parentspanid" => Self::TRACE,
            "x-correlation-id" => Self::CORRELATION_ID,
            "grpc-timeout" => Self::GRPC_TIMEOUT,
            "intertie-deadline" => Self::INTERTIE_DEADLINE,
            "intertie-attempt" | "grpc-previous-rpc-attempts" => Self::ATTEMPT,
            "cookie" => Self::COOKIE,
            "content-length" => Self::CONTENT_LENGTH,
            "expect" => Self::EXPECT,
            "via" => Self::VIA,
            "idempotency-key" => Self::IDEMPOTENCY_KEY,
            name if begins(name, "x-forwarded-") || is_other_name(name) => Self::FORWARDED,
            name if name.len() == INTERTIE_CLIENT_IDENTITY.as_str().len()
                && begins(name, INTERTIE_CLIENT_IDENTITY.as_str()) =>
            {
                Self::CLIENT_IDENTITY
            }
            _ => Self(0),
        }
    }

    /// Whether any of `others` is among them.
    pub(in crate::proxy) fn any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

/// Other names for what `X-Forwarded-For` says, which many services believe; and what speaks CGI takes for the proxy
/// that it should use itself (CVE-2016-5385).
const OTHER_NAMES: [&str; 5] = ["proxy", "x-real-ip", "x-client-ip", "true-client-ip", "x-cluster-client-ip"];

fn is_other_name(name: &str) -> bool {
    matches!(name.len(), 5 | 9 | 11 | 14 | 19)
        && OTHER_NAMES.iter().any(|other| other.len() == name.len() && begins(name, other))
}

/// Whether a header's name begins with another one. Services behind CGI, WSGI and their like read `_` as `-`,
/// so that the one would pass for the other.
fn begins(name: &str, with: &str) -> bool {
    let same = |(own, wanted): (u8, u8)| own == wanted || (own == b'_' && wanted == b'-');
    name.len() >= with.len() && name.bytes().zip(with.bytes()).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_names_no_address_by_whatever_name() {
        for name in OTHER_NAMES {
            assert_eq!(Present::of(name), Present::FORWARDED, "{name}");
            assert_eq!(Present::of(&name.replace('-', "_")), Present::FORWARDED, "{name}");
            assert_eq!(Present::of(&format!("{name}x")), Present(0), "{name}x");
        }
        assert_eq!(Present::of("x-real-id"), Present(0));
    }

    #[test]
    fn each_hop_by_hop_header_has_its_places_bit() {
        for (place, name) in HOP_BY_HOP.iter().enumerate() {
            assert_eq!(Present::of(name.as_str()), Present(1 << place), "{name}");
        }
        assert_eq!(Present::CONNECTION, Present::of(CONNECTION.as_str()));
        assert_eq!(Present::TE, Present::of(TE.as_str()));
    }
}
