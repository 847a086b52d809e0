use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use intertie_core::clock::WallClock;
use intertie_core::telemetry::Events;
use intertie_gateway::config::{Problem, TrafficConfig};
use intertie_gateway::forwarded::ProxyProtocol;
use intertie_gateway::plan::{Effective, Plan, Report, effective, lint};
use intertie_gateway::tls::{CertificateConfig, ServiceTerms, ServiceTls, Terms, TlsConfig};
use intertie_messaging::Name;
use intertie_messaging::queue::QueueSpec;

use super::source::{self, Kind, Source};
use super::{AuditLogConfig, File, Secret, ServerConfig, TokenConfig, TracesConfig, api, queues, token};

/// A file that was read and understood; its traffic part is not yet proved to work.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) path: PathBuf,
    pub(crate) server: ServerConfig,
    pub(crate) tls: TlsConfig,
    certificates: BTreeMap<String, CertificateConfig>,
    pub(crate) traffic: TrafficConfig,
    /// The queues, those first to which the dead letters of others go.
    pub(crate) queues: Vec<(Name, QueueSpec)>,
    tokens: BTreeMap<String, TokenConfig>,
    source: Source,
}

const KIND: Kind = Kind {
    lists: &[
        "listen",
        "redirect",
        "trusted_proxies",
        "client_crls",
        "names",
        "endpoints",
        "services",
        "redact",
        "headers",
        "limits",
        "calls",
        "method",
        "waits",
        "upgrade",
        "needs",
        "allow",
    ],
    first: "a first file: [service.hello] endpoints = [{ at = \"127.0.0.1:7001\" }] and [route.\"/**\"] to = \"hello\"",
};

impl Loaded {
    /// Reads `path`.
    ///
    /// # Errors
    /// What is wrong, ready to be printed.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        Self::parse(path, source::read(path)?)
    }

    /// Reads the file again; nothing when its text is the same.
    ///
    /// # Errors
    /// What is wrong, ready to be printed.
    pub(crate) fn read_if_changed(&self) -> Result<Option<Self>, String> {
        let text = source::read(&self.path)?;
        if text == self.source.text() { Ok(None) } else { Self::parse(&self.path, text).map(Some) }
    }

    /// Lets go of the routes, of which there may be many: the plan has what runs of them.
    pub(crate) fn forget_routes(&mut self) {
        self.traffic.routes.clear();
    }

    /// As it was read, with its routes.
    ///
    /// # Errors
    /// What is wrong with it, ready to be printed.
    pub(crate) fn whole(&self) -> Result<Self, String> {
        Self::parse(&self.path, self.source.text().to_owned())
    }

    /// Understands `text`, which came from `path`.
    ///
    /// # Errors
    /// What is wrong, ready to be printed.
    pub(crate) fn parse(path: &Path, text: String) -> Result<Self, String> {
        let (file, source): (File, Source) = Source::parse(path, text, &KIND)?;
        let traffic = TrafficConfig {
            defaults: file.defaults,
            policies: file.policy,
            limits: file.limit,
            services: file.service,
            routes: file.route,
        };
        let mut loaded = Self {
            path: path.to_owned(),
            server: file.server,
            tls: file.tls,
            certificates: file.certificate,
            traffic,
            queues: Vec::new(),
            tokens: file.token,
            source,
        };
        let mut problems = Vec::new();
        match queues::in_order(&file.queue) {
            Ok(queues) => loaded.queues = queues,
            Err(of_queues) => problems = of_queues,
        }
        problems.splice(0..0, loaded.server_problems(!file.queue.is_empty()));
        if problems.is_empty() { Ok(loaded) } else { Err(loaded.render(&problems)) }
    }

    /// The sections that are not the same in `other`, such as `service.orders`.
    pub(crate) fn changes(&self, other: &Self) -> Vec<String> {
        self.source.changes(&other.source)
    }

    /// Reads the files that the terms of TLS are made of; no terms where TLS is not spoken. A file that was
    /// good yesterday may not be today, but what it holds may stay where it is `in_force`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn terms(
        &self,
        in_force: Option<&Terms>,
    ) -> Result<(Option<Terms>, Vec<Problem>), Vec<Problem>> {
        let certificates = self.certificates_of_routes();
        Terms::load(&self.tls, &certificates, self.folder(), &WallClock::system(), in_force)
    }

    /// The certificates of `[tls]`; that of the API is one of them where there is a `[tls]`.
    fn certificates_of_routes(&self) -> BTreeMap<String, CertificateConfig> {
        let mut certificates = self.certificates.clone();
        if let Some(name) = self.server.api_certificate.as_ref().filter(|_| self.tls.listen.is_empty()) {
            certificates.remove(name);
        }
        certificates
    }

    /// The same of the API: no terms where it is spoken to without TLS.
    ///
    /// # Errors
    /// What is wrong with its files.
    pub(crate) fn api_terms(
        &self,
        in_force: Option<&Terms>,
    ) -> Result<(Option<Terms>, Vec<Problem>), Vec<Problem>> {
        let (config, certificates) = self.api_tls();
        Terms::load(&config, &certificates, self.folder(), &WallClock::system(), in_force)
    }

    /// What the API is spoken to under, as a `[tls]` of its own.
    fn api_tls(&self) -> (TlsConfig, BTreeMap<String, CertificateConfig>) {
        let named =
            self.server.api_certificate.as_ref().and_then(|name| self.certificates.get_key_value(name));
        let Some(((name, certificate), api)) = named.zip(self.api()) else {
            return (TlsConfig::default(), BTreeMap::new());
        };
        let config = TlsConfig {
            listen: vec![api],
            default_certificate: Some(name.clone()),
            minimum_version: self.tls.minimum_version,
            handshake_timeout: self.tls.handshake_timeout,
            ..TlsConfig::default()
        };
        (config, BTreeMap::from([(name.clone(), certificate.clone())]))
    }

    /// Reads the files of TLS towards the collector of traces; nothing where none is spoken to with TLS.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn collector_terms(&self) -> Result<(Option<ServiceTls>, Vec<Problem>), Vec<Problem>> {
        let traces = self.server.traces.as_ref();
        traces.map_or_else(|| Ok((None, Vec::new())), |traces| traces.terms(self.folder()))
    }

    /// Where the API listens, if it does.
    pub(crate) fn api(&self) -> Option<SocketAddr> {
        self.api_address(!self.queues.is_empty())
    }

    fn api_address(&self, has_queues: bool) -> Option<SocketAddr> {
        self.server.api.or_else(|| has_queues.then_some(api::DEFAULT_API))
    }

    /// The connections that clients of the API may have open together.
    pub(crate) fn api_connections(&self) -> u32 {
        self.api().map_or(0, |_| self.server.api_limits.connections_max.get())
    }

    /// The tokens of the API with their secrets, which are read now.
    ///
    /// # Errors
    /// Which can not be read, or are none to trust.
    pub(crate) fn tokens(&self) -> Result<Vec<(String, TokenConfig, Secret)>, Vec<Problem>> {
        token::secrets(&self.tokens, self.folder())
    }

    /// The directory of everything durable, if there is anything.
    pub(crate) fn data(&self) -> Option<PathBuf> {
        let data = self.server.data.as_deref().unwrap_or(Path::new("data"));
        self.api().map(|_| self.folder().join(data))
    }

    /// How many certificates clients may be shown.
    pub(crate) fn certificates(&self) -> usize {
        self.certificates.len()
    }

    /// The certificate of clients that ask for no name that is known.
    pub(crate) fn default_certificate(&self) -> Option<&str> {
        self.tls.default_name(&self.certificates)
    }

    /// The files that the terms of TLS are made of, towards clients and towards services.
    pub(crate) fn terms_files(&self) -> Vec<PathBuf> {
        let mut files = Terms::files(&self.tls, &self.certificates_of_routes(), self.folder());
        let (config, certificates) = self.api_tls();
        files.extend(Terms::files(&config, &certificates, self.folder()));
        files.extend(ServiceTerms::files(&self.traffic.services, self.folder()));
        files
    }

    /// Reads the files of TLS towards services and makes the plan that runs, taking over state from `previous`: what
    /// of these files is in force there may stay.
    ///
    /// # Errors
    /// Everything that is wrong with files and plan.
    pub(crate) fn plan(&self, previous: Option<&Plan>, events: &Events) -> Result<(Plan, Report), Report> {
        let (services, clock) = (&self.traffic.services, WallClock::system());
        let in_force = previous.map(Plan::service_terms).unwrap_or_default();
        let read = ServiceTerms::load(services, self.folder(), &clock, &in_force);
        let (terms, doubts) = read.map_err(|problems| {
            let mut report = lint(&self.traffic);
            report.problems.splice(0..0, problems);
            report
        })?;
        let (plan, mut report) = Plan::compile(&self.traffic, &terms, previous, events)?;
        report.problems.extend(doubts);
        Ok((plan, report))
    }

    /// Makes a plan that is only looked at: it needs no file but this one.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn plan_to_look_at(&self) -> Result<(Plan, Report), Report> {
        Plan::compile(&self.traffic, &ServiceTerms::default(), None, &Events::default())
    }

    /// What applies to the route `name`, one of the file's.
    pub(crate) fn effective(&self, name: &str) -> Effective {
        effective(&self.traffic, name, &self.traffic.routes[name])
    }

    /// Where the relative paths in the file begin.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// `problems` with their positions, ready to be printed.
    pub(crate) fn render(&self, problems: &[Problem]) -> String {
        self.source.render(problems)
    }

    /// The addresses that the file listens on.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let lists = [&self.server.listen, &self.tls.listen, &self.tls.redirect];
        lists.into_iter().flatten().chain([&self.server.admin]).copied().chain(self.api()).collect()
    }

    /// `file:line` of a key.
    pub(crate) fn place(&self, keys: &[String]) -> String {
        self.source.place(keys)
    }

    /// Whether the file has a key.
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

    fn server_problems(&self, has_queues: bool) -> Vec<Problem> {
        let mut problems = Vec::new();
        let server = &self.server;
        if self.traffic.routes.is_empty() && !has_queues {
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
                let others = [Some(server.admin), self.api_address(has_queues)];
                let shared = others.into_iter().flatten().any(|other| is_in(other, *address));
                if (twice || shared) && address.port() != 0 {
                    let message = format!(
                        "`{address}` is used twice; no two listeners share an address, and admin and api share with none"
                    );
                    problems.push(Problem::error(at, message));
                }
            }
        }
        let api = self.api_address(has_queues);
        if let Some(api) = api.filter(|api| is_in(*api, server.admin) && api.port() != 0) {
            let message = format!("`{api}` is used twice; admin and api share with none");
            problems.push(Problem::error(["server", "api"], message));
        }
        let certificates = self.certificates.keys().map(String::as_str);
        problems.extend(api::problems(server, api, !self.tokens.is_empty(), certificates));
        problems.extend(token::problems(&self.tokens));
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
        if server.takeover_timeout.is_zero() {
            problems.push(Problem::error(
                ["server", "takeover_timeout"],
                "takeover_timeout is 0s; no process could be ready by then",
            ));
        }
        problems.extend(server.client_limits.problems());
        problems.extend(server.answers.problems());
        for (at, protocol) in [("server", server.proxy_protocol), ("tls", self.tls.proxy_protocol)] {
            if protocol == ProxyProtocol::Required && server.trusted_proxies.is_empty() {
                let message = "nobody is trusted to say whom a connection is from: trusted_proxies is empty";
                let help = "[server] trusted_proxies = [\"10.0.0.0/8\"]";
                problems.push(Problem::error([at, "proxy_protocol"], message).help(help));
            }
        }
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

/// Whether who listens at `other` would take connections to `address`, or the other way round.
fn is_in(address: SocketAddr, other: SocketAddr) -> bool {
    let is_any = |one: SocketAddr| one.ip().is_unspecified();
    address.port() == other.port() && (address.ip() == other.ip() || is_any(address) || is_any(other))
}
