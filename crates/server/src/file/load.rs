use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use intertie_core::clock::WallClock;
use intertie_gateway::config::{Problem, TrafficConfig};
use intertie_gateway::tls::{CertificateConfig, Terms, TlsConfig};

use super::source::{self, Kind, Source};
use super::{AuditLogConfig, File, ServerConfig, TracesConfig};

/// A file that was read and understood; its traffic part is not yet proved to work.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) path: PathBuf,
    pub(crate) server: ServerConfig,
    pub(crate) tls: TlsConfig,
    certificates: BTreeMap<String, CertificateConfig>,
    pub(crate) traffic: TrafficConfig,
    source: Source,
}

const KIND: Kind = Kind {
    lists: &[
        "listen",
        "redirect",
        "names",
        "endpoints",
        "services",
        "redact",
        "headers",
        "limits",
        "calls",
        "method",
        "waits",
    ],
    first: "a first file: [service.hello] endpoints = [{ at = \"127.0.0.1:7001\" }] and [route.\"/**\"] to = \"hello\"",
};

impl Loaded {
    /// Reads `path`.
    ///
    /// # Errors
    /// What is wrong, ready to be printed.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let (file, source): (File, Source) = Source::parse(path, source::read(path)?, &KIND)?;
        let traffic = TrafficConfig {
            defaults: file.defaults,
            policies: file.policy,
            limits: file.limit,
            services: file.service,
            routes: file.route,
        };
        let loaded = Self {
            path: path.to_owned(),
            server: file.server,
            tls: file.tls,
            certificates: file.certificate,
            traffic,
            source,
        };
        let problems = loaded.server_problems();
        if problems.is_empty() { Ok(loaded) } else { Err(loaded.render(&problems)) }
    }

    /// Whether the text is the same.
    pub(crate) fn same_text(&self, other: &Self) -> bool {
        self.source.same_text(&other.source)
    }

    /// The sections that are not the same in `other`, such as `service.orders`.
    pub(crate) fn changes(&self, other: &Self) -> Vec<String> {
        self.source.changes(&other.source)
    }

    /// Reads the files that the terms of TLS are made of; no terms where TLS is not spoken. A file that was
    /// good yesterday may not be today.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn terms(&self) -> Result<(Option<Terms>, Vec<Problem>), Vec<Problem>> {
        Terms::load(&self.tls, &self.certificates, self.folder(), &WallClock::system())
    }

    /// The certificate of clients that ask for no name that is known.
    pub(crate) fn default_certificate(&self) -> Option<&str> {
        self.tls.default_name(&self.certificates)
    }

    /// The files that the terms of TLS are made of.
    pub(crate) fn terms_files(&self) -> Vec<PathBuf> {
        Terms::files(&self.tls, &self.certificates, self.folder())
    }

    /// Where the relative paths in the file begin.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// `problems` with their positions, ready to be printed.
    pub(crate) fn render(&self, problems: &[Problem]) -> String {
        self.source.render(problems)
    }

    /// `file:line` of a key.
    pub(crate) fn place(&self, keys: &[String]) -> String {
        self.source.place(keys)
    }

    /// Whether a key is there.
    pub(crate) fn has(&self, keys: &[&str]) -> bool {
        self.source.has(keys)
    }

    /// `file:line` of a key, or that it is not there.
    pub(crate) fn origin(&self, keys: &[&str]) -> String {
        if !self.source.has(keys) {
            return "built-in default".to_owned();
        }
        let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
        self.place(&keys)
    }

    fn server_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let server = &self.server;
        if self.traffic.routes.is_empty() {
            let message = "the file has no route: every request would be answered 404";
            problems.push(Problem::error(["route"], message).help("[route.\"/**\"] to = \"SERVICE\""));
        }
        if server.listen.is_empty() && self.tls.listen.is_empty() {
            problems.push(Problem::error(
                ["server", "listen"],
                "the server needs an address to take requests on",
            ));
        }
        let mut taken: Vec<&SocketAddr> = Vec::new();
        for (at, addresses) in [
            (["server", "listen"], &server.listen),
            (["tls", "listen"], &self.tls.listen),
            (["tls", "redirect"], &self.tls.redirect),
        ] {
            for address in addresses {
                let twice = taken.contains(&address);
                taken.push(address);
                let anywhere = address.ip().is_unspecified() && address.port() == server.admin.port();
                if (twice || anywhere || *address == server.admin) && address.port() != 0 {
                    let message = format!(
                        "`{address}` is used twice; no two listeners share an address, and admin shares with none"
                    );
                    problems.push(Problem::error(at, message));
                }
            }
        }
        if !server.admin.ip().is_loopback() {
            let message = format!(
                "the admin listener must stay on loopback: `{}` can be reached from outside",
                server.admin
            );
            problems.push(Problem::error(["server", "admin"], message).help("admin = \"127.0.0.1:9901\""));
        }
        if server.threads.is_some_and(|threads| threads.get() > 1024) {
            problems.push(Problem::error(
                ["server", "threads"],
                "more than 1024 threads are no use on any machine",
            ));
        }
        problems.extend(server.client_limits.problems());
        for name in server.ready.services.iter().filter(|name| !self.traffic.services.contains_key(*name)) {
            let message = format!("there is no service `{name}`");
            problems.push(Problem::error(["server", "ready", "services"], message));
        }
        problems.extend(server.access_log.0.problems());
        problems.extend(server.audit_log.iter().flat_map(AuditLogConfig::problems));
        problems.extend(server.traces.iter().flat_map(TracesConfig::problems));
        problems
    }
}
