//! From files to what connections to services are opened under.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use intertie_core::clock::WallClock;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore, version};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::config::ServiceTlsConfig;
use crate::config::{Problem, Protocol, ServiceConfig, Severity};
use crate::tls::certificate::Certificate;
use crate::tls::pem::{read_chain, read_key};
use crate::tls::validity::OwnCertificate;

/// The terms of all services that are spoken to with TLS, by name.
#[derive(Debug, Clone, Default)]
pub struct ServiceTerms(BTreeMap<String, Arc<ServiceTls>>);

/// What connections to one service are opened under. Its sessions are resumed for as long as it lives.
#[derive(Debug)]
pub struct ServiceTls {
    client: Arc<ClientConfig>,
    server_name: Option<String>,
    basis: Basis,
}

/// What terms are made of; a key is as old as its certificate.
#[derive(Debug, PartialEq, Eq)]
struct Basis {
    config: ServiceTlsConfig,
    protocol: Protocol,
    roots: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
}

impl ServiceTerms {
    /// Reads the files that `services` name, relative ones from `folder`, and returns the terms with warnings.
    /// A certificate of ours that has expired is an error, unless it is the one that is shown under the terms
    /// `in_force`.
    ///
    /// # Errors
    /// Everything that is wrong, with the keys that it is about.
    pub fn load(
        services: &BTreeMap<String, ServiceConfig>,
        folder: &Path,
        clock: &WallClock,
        in_force: &Self,
    ) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let mut problems = Vec::new();
        let mut terms = BTreeMap::new();
        for (name, service) in services {
            let Some(config) = &service.tls else { continue };
            let hosts = service.endpoints.iter().map(|endpoint| endpoint.at.host());
            let at = ["service", name, "tls"];
            let in_force = in_force.of(name).map(Arc::as_ref);
            match ServiceTls::read(at, config, hosts, service.protocol, folder, clock, in_force) {
                Ok((read, doubts)) => {
                    terms.insert(name.clone(), Arc::new(read));
                    problems.extend(doubts);
                }
                Err(found) => problems.extend(found),
            }
        }
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(problems);
        }
        Ok((Self(terms), problems))
    }

    /// The terms of the service `name`.
    pub(crate) fn of(&self, name: &str) -> Option<&Arc<ServiceTls>> {
        self.0.get(name)
    }

    /// Those of services by their names.
    pub(crate) fn collect(terms: impl IntoIterator<Item = (String, Arc<ServiceTls>)>) -> Self {
        Self(terms.into_iter().collect())
    }

    /// The files that the terms are made of.
    pub fn files(services: &BTreeMap<String, ServiceConfig>, folder: &Path) -> Vec<PathBuf> {
        let named = services.values().filter_map(|service| service.tls.as_ref());
        let named = named.flat_map(|tls| [&tls.roots, &tls.certificate, &tls.key]);
        named.flatten().map(|path| folder.join(path)).collect()
    }
}

impl ServiceTls {
    /// Reads the files that `config` names, relative ones from `folder`, for a service at `hosts`, and returns
    /// what connections to it are opened under, with warnings. `at` is where `config` stands, and `in_force` what
    /// connections are opened under so far.
    ///
    /// # Errors
    /// Everything that is wrong, with the keys that it is about.
    pub fn read<'a>(
        at: [&str; 3],
        config: &ServiceTlsConfig,
        hosts: impl IntoIterator<Item = &'a str>,
        protocol: Protocol,
        folder: &Path,
        clock: &WallClock,
        in_force: Option<&Self>,
    ) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let mut problems = config.problems(at, hosts);
        let timely = Self::load(at, config, protocol, folder).and_then(|read| {
            let is_in_force =
                in_force.is_some_and(|shown| shown.basis.chain.first() == read.basis.chain.first());
            problems.extend(read.doubt(at, is_in_force, clock)?);
            Ok(read)
        });
        match timely {
            Ok(read) if problems.iter().all(|problem| problem.severity != Severity::Error) => {
                Ok((read, problems))
            }
            Ok(_) => Err(problems),
            Err(problem) => {
                problems.push(problem);
                Err(problems)
            }
        }
    }

    fn load(
        at: [&str; 3],
        config: &ServiceTlsConfig,
        protocol: Protocol,
        folder: &Path,
    ) -> Result<Self, Problem> {
        let (whole, [a, b, c]) = (|message: String| Problem::error(at, message), at);
        let at = |key| move |message: String| Problem::error([a, b, c, key], message);
        let internal = |error: rustls::Error| whole(format!("TLS can not work: {error}"));
        let mut store = RootCertStore::empty();
        let roots = match &config.roots {
            Some(path) => {
                let roots = read_chain(&folder.join(path)).map_err(at("roots"))?;
                for root in &roots {
                    let unusable = |error| format!("the certificates in it can not be used: {error}");
                    store.add(root.clone()).map_err(|error| at("roots")(unusable(error)))?;
                }
                roots
            }
            None => {
                let roots = rustls_native_certs::load_native_certs().certs;
                let (usable, _) = store.add_parsable_certificates(roots.iter().cloned());
                if usable == 0 {
                    let message = "the system trusts no authority that could have signed its certificate";
                    return Err(whole(message.to_owned()).help("roots = \"services.crt\""));
                }
                roots
            }
        };
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(internal)?
            .with_root_certificates(store);
        let (mut client, chain) = match (&config.certificate, &config.key) {
            (Some(certificate), Some(key)) => {
                let chain = read_chain(&folder.join(certificate)).map_err(at("certificate"))?;
                let key = read_key(&folder.join(key)).map_err(at("key"))?;
                let shown = certificate.display();
                let client = builder.with_client_auth_cert(chain.clone(), key).map_err(|error| {
                    at("key")(match error {
                        rustls::Error::InconsistentKeys(_) => {
                            format!("the key is not that of the first certificate in `{shown}`")
                        }
                        error => format!("it can not be used: {error}"),
                    })
                })?;
                (client, chain)
            }
            _ => (builder.with_no_client_auth(), Vec::new()),
        };
        let offered: &[&str] = match protocol {
            Protocol::Http1 => &["http/1.1"],
            Protocol::Http2 => &["h2"],
            Protocol::Negotiate => &["h2", "http/1.1"],
        };
        client.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let basis = Basis { config: config.clone(), protocol, roots, chain };
        Ok(Self { client: Arc::new(client), server_name: config.server_name.clone(), basis })
    }

    /// What the service will say against our own certificate because of its time.
    ///
    /// # Errors
    /// When it has expired.
    fn doubt(&self, at: [&str; 3], is_in_force: bool, clock: &WallClock) -> Result<Option<Problem>, Problem> {
        let Some(path) = &self.basis.config.certificate else { return Ok(None) };
        let Some(own) = self.basis.chain.first().and_then(|own| Certificate::read(own)) else {
            return Ok(None);
        };
        let [a, b, c] = at;
        let (name, at) = (format!("of `{a}.{b}.{c}`"), [a, b, c, "certificate"]);
        OwnCertificate { name: &name, at, file: path, shown_to: "the service", is_in_force }
            .doubt(&own, clock)
    }

    /// Whether connections are opened as under `other`: then its sessions may be resumed still.
    pub(crate) fn is_that_of(&self, other: &Self) -> bool {
        self.basis == other.basis
    }

    pub(crate) fn client(&self) -> &Arc<ClientConfig> {
        &self.client
    }

    /// Holds the handshake with the service at `host` on `stream`.
    ///
    /// # Errors
    /// That of the connection, or within it that of TLS.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = self.server_name(host).map_err(io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.client)).connect(name, stream).await
    }

    /// The name that the certificate of the endpoint at `host` must be for.
    ///
    /// # Errors
    /// Never for a host that loading has seen.
    pub(crate) fn server_name(&self, host: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
        ServerName::try_from(self.server_name.as_deref().unwrap_or(host)).map(|name| name.to_owned())
    }
}
