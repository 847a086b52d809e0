use std::ops::Range;
use std::path::{Path, PathBuf};

use intertie_discovery::endpoint::Address;
use intertie_gateway::config::{Problem, Severity, TrafficConfig, nearest};

use super::diagnostic::{Diagnostic, position};
use super::places::{Places, misplaced_list};
use super::{File, ServerConfig};

/// A file that was read and understood; its traffic part is not yet proved to work.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) path: PathBuf,
    pub(crate) server: ServerConfig,
    pub(crate) traffic: TrafficConfig,
    name: String,
    text: String,
    places: Places,
}

impl Loaded {
    /// Reads `path`.
    ///
    /// # Errors
    /// What is wrong, ready to be printed.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let refuse = |message: String, help: Option<&str>| {
            let help = help.map(str::to_owned);
            Diagnostic { severity: "error", message, file: &name, text: "", span: None, and: None, help }
                .render()
        };
        let bytes = std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => refuse("there is no such file".to_owned(), None),
            _ => refuse(format!("the file can not be read: {error}"), None),
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let (line, _) = position(&String::from_utf8_lossy(&error.as_bytes()[..valid]), valid);
            refuse(format!("the file is not UTF-8: a byte in line {line} is no part of a character"), None)
        })?;
        Self::parse(path, text)
    }

    /// Understands `text`, which came from `path`.
    ///
    /// # Errors
    /// What is wrong, ready to be printed.
    pub(crate) fn parse(path: &Path, text: String) -> Result<Self, String> {
        let name = path.display().to_string();
        let diagnose = |message, span: Option<Range<usize>>, help| {
            Diagnostic { severity: "error", message, file: &name, text: &text, span, and: None, help }
                .render()
        };
        if text.trim().is_empty() {
            let help = "a first file: [service.hello] endpoints = [{ at = \"127.0.0.1:7001\" }] and [route.\"/**\"] to = \"hello\"";
            return Err(diagnose("the file is empty".to_owned(), None, Some(help.to_owned())));
        }
        let file: File = toml::from_str(&text).map_err(|error| {
            let (message, mut help) = humane(error.message());
            let span = error.span();
            let value = span.clone().and_then(|span| text.get(span)).unwrap_or_default();
            if message.contains("expected a table") && value.trim_matches('"').parse::<Address>().is_ok() {
                help = Some(format!("write {{ at = {value} }}"));
            }
            diagnose(message, span, help)
        })?;
        if let Some((span, message)) = misplaced_list(&text) {
            return Err(diagnose(message, Some(span), None));
        }
        let places = Places::read(&text);
        let traffic = TrafficConfig {
            defaults: file.defaults,
            policies: file.policy,
            limits: file.limit,
            services: file.service,
            routes: file.route,
        };
        let loaded = Self { path: path.to_owned(), server: file.server, traffic, name, text, places };
        let problems = loaded.server_problems();
        if problems.is_empty() { Ok(loaded) } else { Err(loaded.render(&problems)) }
    }

    /// Whether the text is the same.
    pub(crate) fn same_text(&self, other: &Self) -> bool {
        self.text == other.text
    }

    /// `problems` with their positions, ready to be printed.
    pub(crate) fn render(&self, problems: &[Problem]) -> String {
        problems.iter().map(|problem| self.diagnose(problem).render()).collect()
    }

    fn diagnose(&self, problem: &Problem) -> Diagnostic<'_> {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        Diagnostic {
            severity,
            message: problem.message.clone(),
            file: &self.name,
            text: &self.text,
            span: self.places.find(&problem.at),
            and: problem.and.as_deref().and_then(|and| self.places.find(and)),
            help: problem.help.clone(),
        }
    }

    /// `file:line` of a key.
    pub(crate) fn place(&self, keys: &[String]) -> String {
        match self.places.find(keys) {
            Some(span) => format!("{}:{}", self.name, position(&self.text, span.start).0),
            None => self.name.clone(),
        }
    }

    fn server_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let server = &self.server;
        if self.traffic.routes.is_empty() {
            let message = "the file has no route: every request would be answered 404";
            problems.push(Problem::error(["route"], message).help("[route.\"/**\"] to = \"SERVICE\""));
        }
        if server.listen.is_empty() {
            problems.push(Problem::error(
                ["server", "listen"],
                "the server needs an address to take requests on",
            ));
        }
        for (position, address) in server.listen.iter().enumerate() {
            let twice = server.listen[..position].contains(address) && address.port() != 0;
            let anywhere = address.ip().is_unspecified() && address.port() == server.admin.port();
            if twice || ((anywhere || *address == server.admin) && address.port() != 0) {
                let message = format!("`{address}` is used twice; routes and admin never share a listener");
                problems.push(Problem::error(["server", "listen"], message));
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
        problems
    }
}

/// Keys that are looked for on services, where they do not stand.
const POLICY_KEYS: [&str; 6] =
    ["retry", "circuit_breaker", "rate_limiter", "bulkhead", "attempt_timeout", "limits"];

/// The parser's message as we say it, with the nearest valid name.
fn humane(message: &str) -> (String, Option<String>) {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let kind = ["unknown field", "unknown variant"].into_iter().find(|kind| message.starts_with(kind));
    if let (Some(kind), Some((wrong, known))) = (kind, quoted.split_first()) {
        if POLICY_KEYS.contains(wrong) && known.contains(&"endpoints") {
            let help = "policy keys stand in a [policy.NAME] that the service names by `use`, or on a route";
            return (format!("a service has no key `{wrong}`"), Some(help.to_owned()));
        }
        let what = if kind == "unknown field" { "key" } else { "value" };
        let help = match nearest(wrong, known.iter().copied()) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None if known.is_empty() => None,
            None => Some(format!("known here: {}", known.join(", "))),
        };
        return (format!("unknown {what} `{wrong}`"), help);
    }
    if let Some(field) = message.strip_prefix("missing field ") {
        return (format!("the key {field} is missing"), None);
    }
    let mut plain = message.trim_end().replace('\n', "; ");
    if let Some((before, name)) = plain.split_once("expected struct ") {
        let after = name.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
        plain = format!("{before}expected a table{after}");
    }
    for (said, meant) in [
        ("expected a map", "expected a table"),
        ("expected a sequence", "expected a list"),
        ("expected a nonzero u32", "expected a whole number above 0"),
        ("expected a nonzero u64", "expected a whole number above 0"),
        ("expected a nonzero usize", "expected a whole number above 0"),
        ("expected u32", "expected a whole number"),
    ] {
        plain = plain.replace(said, meant);
    }
    let help =
        plain.contains("socket address").then(|| "write an address such as \"127.0.0.1:8080\"".to_owned());
    (plain, help)
}
