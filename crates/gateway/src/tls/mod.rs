//! TLS towards clients, certificates by the name that a client asks for, and who the client is; and, in
//! `service`, TLS towards services.
//!
//! [`Terms`] are what a handshake is held under. They are made of files, and made anew when one of these
//! changes: connections keep the terms that they began with, and files that do not fit together leave the
//! old terms in force.

mod certificate;
mod config;
mod der;
mod expiry;
mod load;
mod names;
mod pem;
mod revocation;
mod service;
mod sessions;
mod stats;
mod validity;

pub use config::{CertificateConfig, ClientCertificates, ExpiredCrls, MinimumVersion, TlsConfig};
pub use expiry::tell_of_expired_lists;
pub use load::Terms;
pub use service::{
    ServiceHandshake, ServiceHandshakes, ServiceTerms, ServiceTls, ServiceTlsConfig, ServiceTlsReloads,
};
pub use stats::{Outcome, TlsStats};

pub(crate) use certificate::identity;
pub(crate) use service::{
    deserialize as deserialize_service_tls, failure, is_refusal, received_alert, schema as service_tls_schema,
};
