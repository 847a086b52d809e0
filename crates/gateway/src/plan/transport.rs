use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::uri::Scheme;

use crate::config::{Http2Config, Protocol, ServiceConfig};
use crate::tls::{ServiceTerms, ServiceTls};

/// How a service is spoken to. Connections belong to it: when it changes they carry nothing new.
#[derive(Debug)]
pub struct Transport {
    /// Tells transports apart for the life of the process.
    pub id: u64,
    /// The version of HTTP.
    pub protocol: Protocol,
    /// The bounds of connections that speak HTTP/2.
    pub http2: Http2Config,
    /// Whether by TLS.
    pub security: Security,
}

/// Whether TLS is spoken to a service.
#[derive(Debug, Clone)]
pub enum Security {
    /// It is not.
    Plain,
    /// It is, under these terms.
    Tls(Arc<ServiceTls>),
    /// It is, but its files have not been read: the plan is only looked at, and opens no connection.
    Unread,
}

impl Transport {
    /// How the service `name` is spoken to: as before, if that is still how.
    pub(super) fn new(
        name: &str,
        config: &ServiceConfig,
        terms: &ServiceTerms,
        known: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let security = match (&config.tls, terms.of(name)) {
            (None, _) => Security::Plain,
            (Some(_), Some(terms)) => Security::Tls(Arc::clone(terms)),
            (Some(_), None) => Security::Unread,
        };
        let (protocol, http2) = (config.protocol, config.http2.clone().unwrap_or_default());
        let same = known.filter(|known| {
            known.protocol == protocol && known.http2 == http2 && known.security.is_that_of(&security)
        });
        match same {
            Some(known) => Arc::clone(known),
            None => Arc::new(Self { id: NEXT.fetch_add(1, Ordering::Relaxed), protocol, http2, security }),
        }
    }

    /// The scheme of its requests.
    pub(crate) fn scheme(&self) -> &'static Scheme {
        static SCHEMES: [Scheme; 2] = [Scheme::HTTP, Scheme::HTTPS];
        &SCHEMES[usize::from(!matches!(self.security, Security::Plain))]
    }

    /// Whether a connection may carry several exchanges at a time.
    pub fn may_multiplex(&self) -> bool {
        self.protocol != Protocol::Http1
    }
}

impl Security {
    fn is_that_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain, Self::Plain) | (Self::Unread, Self::Unread) => true,
            (Self::Tls(own), Self::Tls(other)) => own.is_that_of(other),
            _ => false,
        }
    }
}
