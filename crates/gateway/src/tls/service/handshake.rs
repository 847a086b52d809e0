//! How handshakes with services end. Pure.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::stats::Counter;

/// How a handshake with a service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceHandshake {
    /// In full.
    Completed,
    /// With keys of an earlier session.
    Resumed,
    /// It took longer than `connect_timeout`.
    TimedOut,
    /// The service closed the connection.
    Closed,
    /// The service speaks no TLS.
    NotTls,
    /// No authority that is trusted signed the service's certificate.
    UnknownIssuer,
    /// The certificate is for other names.
    WrongName,
    /// The certificate is not in its time.
    Expired,
    /// The certificate is not good for another reason.
    BadCertificate,
    /// The service wants another certificate of ours, or one at all.
    Refused,
    /// The service agreed to no version of HTTP that is wanted.
    NoProtocol,
    /// No version or cipher in common, or a message that is none.
    Failed,
}

impl ServiceHandshake {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Completed,
        Self::Resumed,
        Self::TimedOut,
        Self::Closed,
        Self::NotTls,
        Self::UnknownIssuer,
        Self::WrongName,
        Self::Expired,
        Self::BadCertificate,
        Self::Refused,
        Self::NoProtocol,
        Self::Failed,
    ];

    /// As metrics and events name it.
    pub const fn name(self) -> &'static str {
        self.parts().0
    }

    /// In words, as a part of a sentence.
    pub(crate) const fn words(self) -> &'static str {
        self.parts().1
    }

    const fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Completed => ("completed", "the handshake is complete"),
            Self::Resumed => ("resumed", "the session is resumed"),
            Self::TimedOut => ("timed_out", "no TLS handshake within connect_timeout"),
            Self::Closed => ("closed", "the service closed the connection in the TLS handshake"),
            Self::NotTls => ("not_tls", "the service does not speak TLS"),
            Self::UnknownIssuer => {
                ("unknown_issuer", "no authority in the service's `roots` signed its certificate")
            }
            Self::WrongName => ("wrong_name", "the service's certificate is for other names"),
            Self::Expired => ("expired", "the service's certificate has expired or is not valid yet"),
            Self::BadCertificate => ("bad_certificate", "the service's certificate is not good"),
            Self::Refused => ("refused", "the service refuses the gateway's certificate"),
            Self::NoProtocol => ("no_protocol", "the service does not agree to the version of HTTP"),
            Self::Failed => ("failed", "the TLS handshake failed"),
        }
    }

    /// What an error of a handshake means.
    pub(crate) fn of(error: &io::Error) -> Self {
        use CertificateError as Certificate;
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match inner {
            None => Self::Closed,
            Some(Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => Self::NotTls,
            Some(Error::InvalidCertificate(wrong)) => match wrong {
                // An authority of the same name with another key is another one.
                Certificate::UnknownIssuer | Certificate::BadSignature => Self::UnknownIssuer,
                Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => Self::WrongName,
                Certificate::Expired
                | Certificate::ExpiredContext { .. }
                | Certificate::NotValidYet
                | Certificate::NotValidYetContext { .. } => Self::Expired,
                _ => Self::BadCertificate,
            },
            Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => Self::NoProtocol,
            Some(Error::AlertReceived(alert)) if is_about_certificates(*alert) => Self::Refused,
            Some(_) => Self::Failed,
        }
    }
}

/// What rustls says in `error`, which may stand behind others.
pub(crate) fn failure<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.get_ref()?.downcast_ref::<Error>();
        }
        next = error.source();
    }
    None
}

/// The number of the alert by which a service ended the connection, if it did.
pub(crate) fn received_alert(error: &(dyn std::error::Error + 'static)) -> Option<u8> {
    match failure(error)? {
        Error::AlertReceived(alert) => Some(u8::from(*alert)),
        _ => None,
    }
}

/// Whether `error` is that of a service which refuses our certificate. In TLS 1.3 a client hears of it only
/// after its own handshake; a service never sees a request that came with it.
pub(crate) fn is_refusal(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(failure(error), Some(Error::AlertReceived(alert)) if is_about_certificates(*alert))
}

const fn is_about_certificates(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

/// The handshakes with one endpoint by how they ended.
#[derive(Debug, Default)]
pub struct ServiceHandshakes([Counter; ServiceHandshake::ALL.len()]);

impl ServiceHandshakes {
    /// Counts one.
    pub(crate) fn ended(&self, how: ServiceHandshake) {
        self.0[how as usize].increment();
    }

    /// Each way to end and how often it happened.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ServiceHandshake::ALL.into_iter().map(ServiceHandshake::name).zip(self.0.iter().map(Counter::get))
    }
}

/// What became of files that changed.
#[derive(Debug, Default)]
pub struct ServiceTlsReloads {
    /// They took effect.
    pub reloads: Counter,
    /// They were refused.
    pub refused: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_name() {
        let tls = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let certificate = |wrong| tls(Error::InvalidCertificate(wrong));
        for (error, expected) in [
            (io::ErrorKind::UnexpectedEof.into(), ServiceHandshake::Closed),
            (
                tls(Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)),
                ServiceHandshake::NotTls,
            ),
            (certificate(CertificateError::UnknownIssuer), ServiceHandshake::UnknownIssuer),
            (certificate(CertificateError::NotValidForName), ServiceHandshake::WrongName),
            (certificate(CertificateError::Expired), ServiceHandshake::Expired),
            (certificate(CertificateError::NotValidYet), ServiceHandshake::Expired),
            (certificate(CertificateError::BadSignature), ServiceHandshake::UnknownIssuer),
            (certificate(CertificateError::BadEncoding), ServiceHandshake::BadCertificate),
            (tls(Error::AlertReceived(AlertDescription::CertificateRequired)), ServiceHandshake::Refused),
            (
                tls(Error::AlertReceived(AlertDescription::NoApplicationProtocol)),
                ServiceHandshake::NoProtocol,
            ),
            (tls(Error::AlertReceived(AlertDescription::HandshakeFailure)), ServiceHandshake::Failed),
        ] {
            assert_eq!(ServiceHandshake::of(&error), expected, "{error}");
            assert_eq!(is_refusal(&error), expected == ServiceHandshake::Refused);
        }
    }

    #[test]
    fn each_name_is_counted_in_its_place() {
        let handshakes = ServiceHandshakes::default();
        for (times, how) in ServiceHandshake::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| handshakes.ended(how));
        }
        for (times, (name, count)) in handshakes.counts().enumerate() {
            assert_eq!((name, count), (ServiceHandshake::ALL[times].name(), times as u64));
        }
    }
}
