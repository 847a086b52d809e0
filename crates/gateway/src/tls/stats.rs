use rustls::{AlertDescription, CertificateError};

use crate::stats::Counter;

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// In full.
    Completed,
    /// With keys of an earlier session.
    Resumed,
    /// It took longer than `handshake_timeout`.
    TimedOut,
    /// The client left in the middle.
    ClientLeft,
    /// The first bytes were no TLS.
    NotTls,
    /// There is no certificate for the name that the client asked for.
    UnknownName,
    /// The client's certificate is missing, not good, or names nobody.
    ClientCertificate,
    /// The client's certificate, or one between it and a root, was revoked.
    ClientRevoked,
    /// The client refused our certificate.
    Refused,
    /// No version, cipher or protocol in common, or a message that is none.
    Failed,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Completed,
        Self::Resumed,
        Self::TimedOut,
        Self::ClientLeft,
        Self::NotTls,
        Self::UnknownName,
        Self::ClientCertificate,
        Self::ClientRevoked,
        Self::Refused,
        Self::Failed,
    ];

    /// As metrics and events name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Resumed => "resumed",
            Self::TimedOut => "timed_out",
            Self::ClientLeft => "client_left",
            Self::NotTls => "not_tls",
            Self::UnknownName => "unknown_name",
            Self::ClientCertificate => "client_certificate",
            Self::ClientRevoked => "client_revoked",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// What an error of a handshake means.
    pub(crate) fn of(error: &std::io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            None => Self::ClientLeft,
            Some(rustls::Error::InvalidCertificate(CertificateError::Revoked)) => Self::ClientRevoked,
            Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)) => {
                Self::ClientCertificate
            }
            Some(rustls::Error::AlertReceived(
                AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnsupportedCertificate,
            )) => Self::Refused,
            Some(_) => Self::Failed,
        }
    }
}

/// What all handshakes of a server did, whatever the terms of each.
#[derive(Debug, Default)]
pub struct TlsStats {
    outcomes: [Counter; Outcome::ALL.len()],
    /// Requests that were redirected to TLS.
    pub redirects: Counter,
    /// Files that changed and took effect.
    pub reloads: Counter,
    /// Files that changed and were refused.
    pub reloads_refused: Counter,
}

impl TlsStats {
    /// Counts a handshake.
    pub fn ended(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].increment();
    }

    /// Handshakes by outcome.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Outcome::ALL.into_iter().map(Outcome::name).zip(self.outcomes.iter().map(Counter::get))
    }
}
