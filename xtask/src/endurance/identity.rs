//! Who the gateway and its services with TLS are: one certificate that vouches for itself.

use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The name that it is for.
pub(super) const NAME: &str = "localhost";

/// A certificate and its key, made anew for each run.
pub(super) struct Identity {
    certified: rcgen::CertifiedKey<rcgen::KeyPair>,
}

impl Identity {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { certified: rcgen::generate_simple_self_signed([NAME.to_owned()])? })
    }

    /// The certificate in PEM.
    pub(super) fn chain(&self) -> String {
        self.certified.cert.pem()
    }

    /// Its key in PEM.
    pub(super) fn key(&self) -> String {
        self.certified.signing_key.serialize_pem()
    }

    /// A server that shows it and speaks `protocols`.
    pub(super) fn server(&self, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>> {
        let key = PrivateKeyDer::try_from(self.certified.signing_key.serialize_der());
        let key = key.ok().context("the key is none")?;
        let mut config =
            ServerConfig::builder().with_no_client_auth().with_single_cert(vec![self.certificate()], key)?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// A client that trusts it alone and speaks `protocol`.
    pub(super) fn client(&self, protocol: &[u8]) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate())?;
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Arc::new(config))
    }

    fn certificate(&self) -> CertificateDer<'static> {
        self.certified.cert.der().clone()
    }
}
