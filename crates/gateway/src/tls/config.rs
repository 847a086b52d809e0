use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use intertie_core::quantity::{self, DurationText};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::Problem;
use crate::forwarded::ProxyProtocol;

/// `[tls]`: where clients are met with TLS, and under which terms.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Tls")]
pub struct TlsConfig {
    /// The addresses that take requests over TLS, HTTP/2 and HTTP/1.1 on the same port. Default: none.
    #[schemars(with = "Vec<String>")]
    pub listen: Vec<SocketAddr>,
    /// Addresses without TLS at which every request is sent to `https` by a 308. Default: none.
    #[schemars(with = "Vec<String>")]
    pub redirect: Vec<SocketAddr>,
    /// The port that `redirect` sends clients to. Default: that of the first address in `listen`.
    pub redirect_port: Option<u16>,
    /// The certificate for clients that ask for no name, or for one that no certificate is for. Default:
    /// the only certificate; none where there are several, and such clients are refused.
    pub default_certificate: Option<String>,
    /// The oldest version that is spoken: "1.2" (the default) or "1.3".
    pub minimum_version: MinimumVersion,
    /// Whether each connection to `listen` and `redirect` begins with the header of the PROXY protocol, as
    /// `[server] proxy_protocol`: `required` or `off` (the default).
    pub proxy_protocol: ProxyProtocol,
    /// The longest that a handshake may take, at most "30s". Default "10s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub handshake_timeout: Duration,
    /// Whether clients show certificates: `off` (the default), `optional` or `required`.
    pub client_certificates: ClientCertificates,
    /// The PEM file with the authorities that sign clients' certificates.
    #[schemars(with = "Option<String>")]
    pub client_roots: Option<PathBuf>,
    /// The PEM files with the lists of what these authorities have revoked (CRLs). With any, each authority that
    /// signed a client's certificate, or one between it and a root, needs one. Default: none is looked at.
    #[schemars(with = "Vec<String>")]
    pub client_crls: Vec<PathBuf>,
    /// What becomes of clients whose authority's list is out of date: `refuse` (the default), or `accept` those
    /// that it does not name.
    pub expired_crls: ExpiredCrls,
}

/// What becomes of clients when the list of what was revoked is out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExpiredCrls {
    /// They are refused, since nobody knows what was revoked since then.
    #[default]
    Refuse,
    /// Those that it does not name are good.
    Accept,
}

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum MinimumVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 only.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificates {
    /// None is asked for.
    #[default]
    Off,
    /// One is asked for and, when shown, verified.
    Optional,
    /// A client without a good one is refused.
    Required,
}

/// `[certificate.NAME]`: a certificate for clients and its key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Certificate")]
pub struct CertificateConfig {
    /// The PEM file with the certificate, and after it those of the authorities between it and a root.
    #[schemars(with = "String")]
    pub chain: PathBuf,
    /// The PEM file with its private key, not encrypted.
    #[schemars(with = "String")]
    pub key: PathBuf,
    /// The names that it is shown for, such as "shop.example" or "*.shop.example". Default: all DNS names in
    /// it.
    #[serde(default)]
    pub names: Vec<String>,
}

/// A handshake may not take longer than a client may be silent.
const HANDSHAKE_TIMEOUT_MAX: Duration = Duration::from_secs(30);

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            redirect: Vec::new(),
            redirect_port: None,
            default_certificate: None,
            minimum_version: MinimumVersion::Tls12,
            proxy_protocol: ProxyProtocol::Off,
            handshake_timeout: Duration::from_secs(10),
            client_certificates: ClientCertificates::Off,
            client_roots: None,
            client_crls: Vec::new(),
            expired_crls: ExpiredCrls::Refuse,
        }
    }
}

impl TlsConfig {
    /// What is wrong with the settings themselves, before any file is read.
    pub(super) fn problems(&self, certificates: &BTreeMap<String, CertificateConfig>) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key, message: String| problems.push(Problem::error(["tls", key], message));
        if self.handshake_timeout.is_zero() || self.handshake_timeout > HANDSHAKE_TIMEOUT_MAX {
            let given = quantity::format_duration(self.handshake_timeout);
            wrong("handshake_timeout", format!("{given} is not above 0s and at most 30s"));
        }
        if self.listen.is_empty() {
            if *self != Self::default() {
                wrong("listen", "[tls] needs an address to listen on".to_owned());
            } else if !certificates.is_empty() {
                let message = "nobody is shown a certificate: no address listens with TLS".to_owned();
                let name = certificates.keys().next().map_or("", String::as_str);
                let help = "[tls] listen = [\"0.0.0.0:443\"]";
                problems.push(Problem::error(["certificate", name], message).help(help));
            }
            return problems;
        }
        if self.redirect_port == Some(0) {
            wrong("redirect_port", "0 is no port that a client can be sent to".to_owned());
        }
        if self.redirect_port.is_some() && self.redirect.is_empty() {
            wrong("redirect_port", "nothing is redirected: `redirect` names no address".to_owned());
        }
        if certificates.is_empty() {
            let help = "[certificate.NAME] chain = \"shop.crt\", key = \"shop.key\"";
            problems.push(Problem::error(["tls", "listen"], "TLS needs a certificate").help(help));
        }
        if let Some(name) = &self.default_certificate
            && !certificates.contains_key(name)
        {
            let known = certificates.keys().map(String::as_str);
            let message = format!("there is no certificate `{name}`");
            let help = match crate::config::nearest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("declare it as [certificate.{name}]"),
            };
            problems.push(Problem::error(["tls", "default_certificate"], message).help(help));
        }
        match (self.client_certificates, &self.client_roots) {
            (ClientCertificates::Off, Some(_)) => {
                let message = "no client is asked for a certificate";
                let help = "client_certificates = \"required\"";
                problems.push(Problem::error(["tls", "client_roots"], message).help(help));
            }
            (ClientCertificates::Optional | ClientCertificates::Required, None) => {
                let message = "clients' certificates are verified against `client_roots`, which is missing";
                problems.push(Problem::error(["tls", "client_certificates"], message));
            }
            _ => {}
        }
        if self.client_certificates == ClientCertificates::Off && !self.client_crls.is_empty() {
            let message = "no client is asked for a certificate";
            let help = "client_certificates = \"required\"";
            problems.push(Problem::error(["tls", "client_crls"], message).help(help));
        }
        if self.client_crls.is_empty() && self.expired_crls != ExpiredCrls::default() {
            let message = "`client_crls` names no list that could be out of date";
            problems.push(Problem::error(["tls", "expired_crls"], message));
        }
        problems
    }

    /// The name of the certificate for clients that ask for no name we know.
    pub fn default_name<'a>(
        &'a self,
        certificates: &'a BTreeMap<String, CertificateConfig>,
    ) -> Option<&'a str> {
        match (&self.default_certificate, certificates.len()) {
            (Some(name), _) => Some(name),
            (None, 1) => certificates.keys().next().map(String::as_str),
            _ => None,
        }
    }
}
