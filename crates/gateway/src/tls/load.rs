//! From files to terms. What is wrong with a file is said at the key that names it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use tokio_rustls::TlsAcceptor;

use super::certificate::Certificate;
use super::config::{CertificateConfig, MinimumVersion, TlsConfig};
use super::names::{Names, is_name};
use super::pem::{read_chain, read_key};
use super::revocation::ClientTrust;
use super::sessions;
use super::validity::OwnCertificate;
use crate::config::{Problem, Severity};

/// What handshakes are held under: certificates, versions, whose certificates are good.
#[derive(Debug)]
pub struct Terms {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) handshake_timeout: Duration,
    names: Arc<ByName>,
    expiries: Vec<(String, u64)>,
    basis: Basis,
}

/// What terms are made of; a key is as old as its certificate.
#[derive(Debug, PartialEq, Eq)]
struct Basis {
    config: TlsConfig,
    certificates: BTreeMap<String, CertificateConfig>,
    chains: Vec<Vec<CertificateDer<'static>>>,
    clients: ClientTrust,
}

impl Terms {
    /// Reads the files that `config` and `certificates` name, relative ones from `folder`, and returns the
    /// terms with warnings. Without an address that listens with TLS there are none.
    ///
    /// A certificate that has expired is an error, unless it is the one that is shown under the terms `in_force`: to
    /// refuse what stays anyway would keep other certificates from being renewed.
    ///
    /// # Errors
    /// Everything that is wrong, with the keys that it is about.
    pub fn load(
        config: &TlsConfig,
        certificates: &BTreeMap<String, CertificateConfig>,
        folder: &Path,
        clock: &WallClock,
        in_force: Option<&Self>,
    ) -> Result<(Option<Self>, Vec<Problem>), Vec<Problem>> {
        let mut problems = config.problems(certificates);
        let provider = Arc::new(ring::default_provider());
        let mut served = BTreeMap::new();
        for (name, config) in certificates {
            let read = read_certificate(name, config, folder, &provider);
            let timely = read.and_then(|read| {
                let own = OwnCertificate {
                    name: &format!("`{name}`"),
                    at: ["certificate", name, "chain"],
                    file: &config.chain,
                    shown_to: "clients",
                    is_in_force: in_force.is_some_and(|terms| terms.shows(name, &read.key.cert)),
                };
                problems.extend(own.doubt(&read.certificate, clock)?);
                Ok(read)
            });
            match timely {
                Ok(read) => drop(served.insert(name.as_str(), read)),
                Err(problem) => problems.push(problem),
            }
        }
        let default = config.default_name(certificates);
        let names = index(&served, default, &mut problems);
        let clients = ClientTrust::read(config, folder, clock, &mut problems).unwrap_or_else(|problem| {
            problems.push(problem);
            ClientTrust::default()
        });
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(problems);
        }
        if config.listen.is_empty() {
            return Ok((None, problems));
        }
        let versions: &[_] = match config.minimum_version {
            MinimumVersion::Tls12 => &[&version::TLS13, &version::TLS12],
            MinimumVersion::Tls13 => &[&version::TLS13],
        };
        let internal =
            |error: rustls::Error| vec![Problem::error(["tls"], format!("TLS can not work: {error}"))];
        let verifier = clients.verifier(config, &provider).map_err(|problem| vec![problem])?;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(internal)?;
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let names = Arc::new(ByName(names));
        let mut server = builder.with_cert_resolver(Arc::clone(&names) as Arc<dyn ResolvesServerCert>);
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Tickets end with the terms that they were given under: whoever resumes is not verified again.
        server.ticketer = ring::Ticketer::new().map_err(internal)?;
        if let Some(end) = clients.good_until(config) {
            sessions::end_at(end, &mut server, clock);
        }
        let expiries =
            served.iter().map(|(name, read)| ((*name).to_owned(), read.certificate.not_after)).collect();
        let basis = Basis {
            config: config.clone(),
            certificates: certificates.clone(),
            chains: served.values().map(|read| read.key.cert.clone()).collect(),
            clients,
        };
        let handshake_timeout = config.handshake_timeout;
        let terms = Self { server: Arc::new(server), handshake_timeout, names, expiries, basis };
        Ok((Some(terms), problems))
    }

    /// Whether the certificate `name` is the first of `chain`.
    fn shows(&self, name: &str, chain: &[CertificateDer<'static>]) -> bool {
        let mut shown = self.basis.certificates.keys().zip(&self.basis.chains);
        shown.any(|(known, shown)| known == name && shown.first() == chain.first())
    }

    /// What holds handshakes under these terms for a listener that is not the gateway's.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.server))
    }

    /// The longest that a handshake may take.
    pub fn handshake_timeout(&self) -> Duration {
        self.handshake_timeout
    }

    /// Whether handshakes are held as under `other`: then its sessions may be resumed still.
    pub fn are_those_of(&self, other: &Self) -> bool {
        self.basis == other.basis
    }

    /// The files that terms are made of; none where TLS is not spoken.
    pub fn files(
        config: &TlsConfig,
        certificates: &BTreeMap<String, CertificateConfig>,
        folder: &Path,
    ) -> Vec<PathBuf> {
        if config.listen.is_empty() {
            return Vec::new();
        }
        let named = certificates.values().flat_map(|config| [&config.chain, &config.key]);
        let of_clients = config.client_roots.iter().chain(&config.client_crls);
        named.chain(of_clients).map(|path| folder.join(path)).collect()
    }

    /// Whether there is a certificate for a client that asks for `name`.
    pub(crate) fn knows(&self, name: Option<&str>) -> bool {
        self.names.0.find(name).is_some()
    }

    /// Whether the certificate that is shown for `name` is also the one for `host`.
    pub(crate) fn are_one(&self, name: &str, host: &str) -> bool {
        let find = |name| self.names.0.find(Some(name)).map(|(key, _)| key);
        find(name).zip(find(host)).is_some_and(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// The name of the certificate that a client is shown that asks for `host`, if it is not refused.
    pub fn certificate_for(&self, host: &str) -> Option<&str> {
        self.names.0.find(Some(host)).map(|(_, name)| name.as_str())
    }

    /// The certificates by name, and when each ends, in seconds since 1970.
    pub(crate) fn expiries(&self) -> impl Iterator<Item = (&str, u64)> {
        self.expiries.iter().map(|(name, at)| (name.as_str(), *at))
    }

    /// The files with lists of what was revoked, and when the first list in each is out of date.
    pub(crate) fn list_expiries(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.basis.clients.list_expiries()
    }
}

/// The key of each name's certificate, and what the file calls that certificate.
#[derive(Debug)]
struct ByName(Names<(Arc<CertifiedKey>, String)>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.find(hello.server_name()).map(|(key, _)| Arc::clone(key))
    }
}

/// A certificate that can be shown, and the names that it is shown for.
struct Served {
    key: Arc<CertifiedKey>,
    certificate: Certificate,
    names: Vec<String>,
}

fn read_certificate(
    name: &str,
    config: &CertificateConfig,
    folder: &Path,
    provider: &CryptoProvider,
) -> Result<Served, Problem> {
    let at = |key| move |message: String| Problem::error(["certificate", name, key], message);
    let chain = read_chain(&folder.join(&config.chain)).map_err(at("chain"))?;
    let (shown, key_path) = (config.chain.display(), folder.join(&config.key));
    let certificate = Certificate::read(&chain[0])
        .ok_or_else(|| at("chain")(format!("the first certificate in `{shown}` can not be read")))?;
    let key = read_key(&key_path).map_err(at("key"))?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| {
        at("key")(match error {
            rustls::Error::InconsistentKeys(_) => {
                format!("the key is not that of the first certificate in `{shown}`")
            }
            error => format!("`{}` can not be used: {error}", config.key.display()),
        })
    })?;
    for wanted in &config.names {
        if !is_name(wanted) {
            let message = format!("`{wanted}` is no name such as \"shop.example\" or \"*.shop.example\"");
            return Err(at("names")(message));
        }
        if !certificate.covers(wanted) {
            let message = format!("the certificate in `{shown}` is not for `{wanted}`");
            return Err(at("names")(message).help(format!("it is for {}", certificate.names.join(", "))));
        }
    }
    let names = if config.names.is_empty() {
        certificate.names.iter().filter(|name| is_name(name)).cloned().collect()
    } else {
        config.names.clone()
    };
    Ok(Served { key: Arc::new(key), certificate, names })
}

/// Which certificate is shown for which name; two for the same one would be a matter of luck.
fn index(
    served: &BTreeMap<&str, Served>,
    default: Option<&str>,
    problems: &mut Vec<Problem>,
) -> Names<(Arc<CertifiedKey>, String)> {
    let entry = |name: &str, read: &Served| (Arc::clone(&read.key), name.to_owned());
    let default_entry = default.and_then(|name| served.get(name).map(|read| entry(name, read)));
    let mut names = Names::new(default_entry);
    let (mut owners, mut told) = (BTreeMap::new(), BTreeSet::new());
    for (name, read) in served {
        if read.names.is_empty() && default != Some(*name) {
            let message = format!("`{name}` is never shown: it is for no DNS name and is not the default");
            let help = format!("[tls] default_certificate = \"{name}\"");
            problems.push(Problem::error(["certificate", name], message).help(help));
        }
        for wanted in &read.names {
            names.insert(wanted, entry(name, read));
            if let Some(other) = owners.insert(wanted, *name)
                && other != *name
                // Two that share one name mostly share all of them.
                && told.insert((other, *name))
            {
                let message = format!("`{wanted}` is in the certificates `{other}` and `{name}`");
                let place = vec!["certificate".to_owned(), other.to_owned()];
                let help = "say by `names` which of them each is shown for";
                problems.push(Problem::error(["certificate", name], message).and(place).help(help));
            }
        }
    }
    names
}
