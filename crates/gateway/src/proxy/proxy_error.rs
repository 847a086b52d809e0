//! What an answer of the gateway's own says in `Proxy-Status` (RFC 9209, section 2.3). Pure.

use std::error::Error;
use std::io;

use super::dial::DialError;
use crate::tls::{ServiceHandshake, received_alert};
use crate::wire::Violation;

/// The error types that the gateway has a case for, in the order of the RFC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProxyError {
    DnsTimeout,
    DnsError,
    DestinationNotFound,
    DestinationUnavailable,
    DestinationIpUnroutable,
    ConnectionRefused,
    ConnectionTerminated,
    ConnectionTimeout,
    ConnectionReadTimeout,
    ConnectionWriteTimeout,
    ConnectionLimitReached,
    TlsProtocolError,
    TlsCertificateError,
    /// With the alert's number.
    TlsAlertReceived(u8),
    HttpRequestError,
    HttpRequestDenied,
    HttpResponseIncomplete,
    HttpResponseHeaderSectionSize,
    HttpResponseTransferCoding,
    HttpResponseTimeout,
    HttpUpgradeFailed,
    HttpProtocolError,
    ProxyInternalError,
    ProxyConfigurationError,
    ProxyLoopDetected,
}

impl ProxyError {
    /// Its name in the registry.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::DnsTimeout => "dns_timeout",
            Self::DnsError => "dns_error",
            Self::DestinationNotFound => "destination_not_found",
            Self::DestinationUnavailable => "destination_unavailable",
            Self::DestinationIpUnroutable => "destination_ip_unroutable",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ConnectionTimeout => "connection_timeout",
            Self::ConnectionReadTimeout => "connection_read_timeout",
            Self::ConnectionWriteTimeout => "connection_write_timeout",
            Self::ConnectionLimitReached => "connection_limit_reached",
            Self::TlsProtocolError => "tls_protocol_error",
            Self::TlsCertificateError => "tls_certificate_error",
            Self::TlsAlertReceived(_) => "tls_alert_received",
            Self::HttpRequestError => "http_request_error",
            Self::HttpRequestDenied => "http_request_denied",
            Self::HttpResponseIncomplete => "http_response_incomplete",
            Self::HttpResponseHeaderSectionSize => "http_response_header_section_size",
            Self::HttpResponseTransferCoding => "http_response_transfer_coding",
            Self::HttpResponseTimeout => "http_response_timeout",
            Self::HttpUpgradeFailed => "http_upgrade_failed",
            Self::HttpProtocolError => "http_protocol_error",
            Self::ProxyInternalError => "proxy_internal_error",
            Self::ProxyConfigurationError => "proxy_configuration_error",
            Self::ProxyLoopDetected => "proxy_loop_detected",
        }
    }

    /// The alert that it tells.
    pub(super) const fn alert(self) -> Option<u8> {
        match self {
            Self::TlsAlertReceived(alert) => Some(alert),
            _ => None,
        }
    }

    /// Whether the other side was waited for in vain, before a request was through: what RFC 9209 recommends a 504
    /// for.
    pub(super) const fn is_timeout(self) -> bool {
        matches!(self, Self::DnsTimeout | Self::ConnectionTimeout | Self::ConnectionReadTimeout)
    }

    /// What a message of a service that is not read on is.
    pub(super) const fn of_violation(violation: Violation) -> Self {
        match violation {
            Violation::HeaderBytes | Violation::Headers => Self::HttpResponseHeaderSectionSize,
            Violation::TransferEncoding | Violation::UnknownCoding => Self::HttpResponseTransferCoding,
            _ => Self::HttpProtocolError,
        }
    }

    /// What the end of a connection is that was open; `how` tells what was known when it ended.
    pub(super) fn of_exchange(error: &hyper::Error, how: Ending) -> Self {
        if error.is_timeout() {
            return Self::ConnectionReadTimeout;
        }
        if let Some(tls) = of_tls(error) {
            return tls;
        }
        match how {
            Ending::InHead => Self::HttpResponseIncomplete,
            Ending::Closed => Self::ConnectionTerminated,
            Ending::Misspoken => Self::HttpProtocolError,
        }
    }
}

/// How an exchange ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The connection was closed or reset in the middle of a head.
    InHead,
    /// The connection was closed or reset before a head began.
    Closed,
    /// What came was no HTTP.
    Misspoken,
}

impl From<&DialError> for ProxyError {
    fn from(error: &DialError) -> Self {
        match error {
            DialError::Resolve(_) => Self::DnsError,
            DialError::ResolveTimeout => Self::DnsTimeout,
            DialError::Connect(error) => of_connect(error),
            DialError::ConnectTimeout => Self::ConnectionTimeout,
            DialError::Handshake { how, cause } => of_handshake(*how, cause.as_ref()),
            DialError::Unread => Self::ProxyConfigurationError,
            DialError::NotHttp2 => Self::HttpProtocolError,
            DialError::NoPreface => Self::ConnectionReadTimeout,
            DialError::Http(error) => Self::of_exchange(error, Ending::Misspoken),
        }
    }
}

fn of_connect(error: &io::Error) -> ProxyError {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => ProxyError::ConnectionRefused,
        Kind::TimedOut => ProxyError::ConnectionTimeout,
        Kind::HostUnreachable | Kind::NetworkUnreachable => ProxyError::DestinationIpUnroutable,
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe | Kind::NotConnected => {
            ProxyError::ConnectionTerminated
        }
        _ => ProxyError::DestinationUnavailable,
    }
}

fn of_handshake(how: ServiceHandshake, cause: Option<&io::Error>) -> ProxyError {
    if let Some(alert) = cause.and_then(|cause| received_alert(cause)) {
        return ProxyError::TlsAlertReceived(alert);
    }
    match how {
        ServiceHandshake::TimedOut => ProxyError::ConnectionTimeout,
        ServiceHandshake::Closed => ProxyError::ConnectionTerminated,
        ServiceHandshake::UnknownIssuer
        | ServiceHandshake::WrongName
        | ServiceHandshake::Expired
        | ServiceHandshake::BadCertificate => ProxyError::TlsCertificateError,
        ServiceHandshake::NoProtocol => ProxyError::HttpUpgradeFailed,
        ServiceHandshake::NotTls
        | ServiceHandshake::Refused
        | ServiceHandshake::Failed
        | ServiceHandshake::Completed
        | ServiceHandshake::Resumed => ProxyError::TlsProtocolError,
    }
}

/// What an error after the handshake says of TLS, if it does.
fn of_tls(error: &(dyn Error + 'static)) -> Option<ProxyError> {
    if let Some(alert) = received_alert(error) {
        return Some(ProxyError::TlsAlertReceived(alert));
    }
    crate::tls::failure(error).map(|_| ProxyError::TlsProtocolError)
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError};

    use super::*;

    /// The page has a row for each type, and no other.
    #[test]
    fn the_page_of_answers_names_each_type() {
        const ALL: [ProxyError; 25] = [
            ProxyError::DnsTimeout,
            ProxyError::DnsError,
            ProxyError::DestinationNotFound,
            ProxyError::DestinationUnavailable,
            ProxyError::DestinationIpUnroutable,
            ProxyError::ConnectionRefused,
            ProxyError::ConnectionTerminated,
            ProxyError::ConnectionTimeout,
            ProxyError::ConnectionReadTimeout,
            ProxyError::ConnectionWriteTimeout,
            ProxyError::ConnectionLimitReached,
            ProxyError::TlsProtocolError,
            ProxyError::TlsCertificateError,
            ProxyError::TlsAlertReceived(0),
            ProxyError::HttpRequestError,
            ProxyError::HttpRequestDenied,
            ProxyError::HttpResponseIncomplete,
            ProxyError::HttpResponseHeaderSectionSize,
            ProxyError::HttpResponseTransferCoding,
            ProxyError::HttpResponseTimeout,
            ProxyError::HttpUpgradeFailed,
            ProxyError::HttpProtocolError,
            ProxyError::ProxyLoopDetected,
            ProxyError::ProxyConfigurationError,
            ProxyError::ProxyInternalError,
        ];
        const PAGE: &str = include_str!("../../../../docs/patterns/answers.md");
        let (_, table) = PAGE.split_once("| error | codes | when |\n|---|---|---|\n").expect("the table");
        let rows = table.lines().map_while(|line| line.strip_prefix("| `")?.split('`').next());
        assert_eq!(rows.collect::<Vec<_>>(), ALL.map(ProxyError::name));
    }

    fn connect(kind: io::ErrorKind) -> ProxyError {
        ProxyError::from(&DialError::Connect(kind.into()))
    }

    fn handshake(error: rustls::Error) -> ProxyError {
        let cause = io::Error::new(io::ErrorKind::InvalidData, error);
        ProxyError::from(&DialError::Handshake { how: ServiceHandshake::of(&cause), cause: Some(cause) })
    }

    #[test]
    fn each_way_not_to_connect_has_its_type() {
        for (kind, expected) in [
            (io::ErrorKind::ConnectionRefused, ProxyError::ConnectionRefused),
            (io::ErrorKind::TimedOut, ProxyError::ConnectionTimeout),
            (io::ErrorKind::HostUnreachable, ProxyError::DestinationIpUnroutable),
            (io::ErrorKind::NetworkUnreachable, ProxyError::DestinationIpUnroutable),
            (io::ErrorKind::ConnectionReset, ProxyError::ConnectionTerminated),
            (io::ErrorKind::PermissionDenied, ProxyError::DestinationUnavailable),
        ] {
            assert_eq!(connect(kind), expected, "{kind}");
        }
        for (error, expected) in [
            (DialError::Resolve(io::ErrorKind::Other.into()), ProxyError::DnsError),
            (DialError::ResolveTimeout, ProxyError::DnsTimeout),
            (DialError::ConnectTimeout, ProxyError::ConnectionTimeout),
            (DialError::NoPreface, ProxyError::ConnectionReadTimeout),
            (DialError::NotHttp2, ProxyError::HttpProtocolError),
            (DialError::Unread, ProxyError::ProxyConfigurationError),
        ] {
            assert_eq!(ProxyError::from(&error), expected, "{error}");
        }
    }

    #[test]
    fn each_way_a_handshake_fails_has_its_type() {
        for (error, expected) in [
            (rustls::Error::InvalidCertificate(CertificateError::Expired), ProxyError::TlsCertificateError),
            (rustls::Error::InvalidCertificate(CertificateError::Revoked), ProxyError::TlsCertificateError),
            (
                rustls::Error::AlertReceived(AlertDescription::HandshakeFailure),
                ProxyError::TlsAlertReceived(40),
            ),
            (rustls::Error::AlertReceived(AlertDescription::UnknownCA), ProxyError::TlsAlertReceived(48)),
            (
                rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
                ProxyError::TlsProtocolError,
            ),
            (rustls::Error::DecryptError, ProxyError::TlsProtocolError),
        ] {
            assert_eq!(handshake(error.clone()), expected, "{error}");
        }
        let without = |how| ProxyError::from(&DialError::Handshake { how, cause: None });
        assert_eq!(without(ServiceHandshake::TimedOut), ProxyError::ConnectionTimeout);
        assert_eq!(without(ServiceHandshake::Closed), ProxyError::ConnectionTerminated);
        assert_eq!(without(ServiceHandshake::NoProtocol), ProxyError::HttpUpgradeFailed);
    }
}
