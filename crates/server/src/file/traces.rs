use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use http::header::HeaderName;
use http::uri::{Scheme, Uri};
use intertie_core::clock::WallClock;
use intertie_core::quantity::{self, DurationText, Ratio};
use intertie_gateway::config::{Problem, Protocol};
use intertie_gateway::proxy::TraceParents;
use intertie_gateway::tls::{ServiceTls, ServiceTlsConfig};
use schemars::JsonSchema;
use serde::Deserialize;

use super::secret::SecretReference;

/// `[server.traces]`: which requests are recorded as traces, and the collector that gets them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Traces")]
pub(crate) struct TracesConfig {
    /// The collector's URL for OTLP over HTTP, with `/v1/traces` where it has no path, and with TLS where it
    /// begins with `https`. Default "http://127.0.0.1:4318/v1/traces".
    pub(crate) endpoint: String,
    /// What the collector's certificate must be, and which one it is shown, as `tls` of a service. Its files are
    /// read when the process begins. Needs an `endpoint` with `https`. Default: the table with all its defaults.
    pub(crate) tls: Option<ServiceTlsConfig>,
    /// The share of traces that are recorded where no caller has decided: decided once, by the trace id. What a
    /// caller records is recorded here too. Default "1%".
    pub(crate) sample: Ratio,
    /// Whose traces are continued, and whose decision to record them is kept: those of `all` callers (the default)
    /// or of `trusted_proxies` alone. Every other request begins a trace.
    pub(crate) parents: TraceParents,
    /// Headers for the collector, each value by reference: "env:NAME" or "file:PATH". Default none.
    pub(crate) headers: BTreeMap<String, String>,
    /// The attribute `service.name`. Default "intertie".
    pub(crate) service_name: String,
    /// Requests whose spans may wait for the collector, at most 1000000. Those of further ones are dropped and
    /// counted. Default 8192.
    pub(crate) queue: NonZeroU32,
    /// Spans that make a message complete, at most 10000. Default 512.
    pub(crate) batch: NonZeroU32,
    /// How long the collector may take to answer a message; then it is sent again. Above zero. Default "10s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub(crate) timeout: Duration,
    /// How long a message may take with all its repetitions; then its spans are dropped and counted. At least
    /// `timeout`. Default "30s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub(crate) deadline: Duration,
    /// How long the end of the process waits for the collector. Default "5s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub(crate) flush: Duration,
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self {
            endpoint: "http://127.0.0.1:4318/v1/traces".to_owned(),
            tls: None,
            sample: Ratio::from_percent(1),
            parents: TraceParents::All,
            headers: BTreeMap::new(),
            service_name: "intertie".to_owned(),
            queue: NonZeroU32::new(8192).expect("8192 is not zero"),
            batch: NonZeroU32::new(512).expect("512 is not zero"),
            timeout: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
            flush: Duration::from_secs(5),
        }
    }
}

/// The host of a collector, an address of IPv6 without its brackets.
pub(crate) fn host(collector: &Uri) -> Option<&str> {
    collector.host().map(|host| host.trim_matches(['[', ']']))
}

const QUEUE_MAX: u32 = 1_000_000;
const BATCH_MAX: u32 = 10_000;

/// What the exporter writes itself.
const OWN_HEADERS: [&str; 5] = ["host", "content-type", "content-length", "transfer-encoding", "connection"];

impl TracesConfig {
    /// The collector's URL, if it is one that can be sent to.
    pub(crate) fn collector(&self) -> Option<Uri> {
        let uri: Uri = self.endpoint.parse().ok()?;
        let mut parts = uri.into_parts();
        let authority = parts.authority.as_ref()?;
        let usable = [Scheme::HTTP, Scheme::HTTPS].iter().any(|known| parts.scheme.as_ref() == Some(known))
            && !authority.host().is_empty()
            && !authority.as_str().contains('@')
            && authority.port_u16() != Some(0);
        if parts.path_and_query.as_ref().is_none_or(|path| path.as_str() == "/") {
            parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/v1/traces"));
        }
        usable.then(|| Uri::from_parts(parts).ok())?
    }

    /// What the connection to the collector is opened under, with warnings; nothing where it is spoken to
    /// without TLS.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub(crate) fn terms(&self, folder: &Path) -> Result<(Option<ServiceTls>, Vec<Problem>), Vec<Problem>> {
        let Some(uri) = self.collector().filter(|uri| uri.scheme() == Some(&Scheme::HTTPS)) else {
            return Ok((None, Vec::new()));
        };
        let config = self.tls.clone().unwrap_or_default();
        let at = ["server", "traces", "tls"];
        let clock = WallClock::system();
        let (terms, doubts) =
            ServiceTls::read(at, &config, host(&uri), Protocol::Http1, folder, &clock, None)?;
        Ok((Some(terms), doubts))
    }

    /// What is wrong.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, message: String, help: Option<&str>| {
            let problem = Problem::error(["server", "traces", key], message);
            problems.push(match help {
                Some(help) => problem.help(help),
                None => problem,
            });
        };
        if self.collector().is_none() {
            let message = format!("`{}` is no URL of a collector", self.endpoint);
            wrong("endpoint", message, Some("endpoint = \"http://127.0.0.1:4318/v1/traces\""));
        } else if self.tls.is_some() && !self.endpoint.starts_with("https:") {
            let message = format!("`{}` is spoken to without TLS", self.endpoint);
            wrong("tls", message, Some("endpoint = \"https://collector.example:4318\""));
        }
        for (name, value) in &self.headers {
            let help = "write \"env:NAME\" or \"file:PATH\"";
            match HeaderName::from_bytes(name.as_bytes()) {
                Err(_) => wrong("headers", format!("`{name}` is no header name"), None),
                Ok(known) if OWN_HEADERS.contains(&known.as_str()) => {
                    wrong("headers", format!("`{name}` is written by the exporter itself"), None);
                }
                Ok(_) if SecretReference::parse(value).is_none() => {
                    let message = format!("the value of `{name}` stands in the file; it must be a reference");
                    wrong("headers", message, Some(help));
                }
                Ok(_) => {}
            }
        }
        if self.service_name.trim().is_empty() {
            wrong("service_name", "an empty service_name tells nobody apart".to_owned(), None);
        }
        for (key, value, max) in [("queue", self.queue, QUEUE_MAX), ("batch", self.batch, BATCH_MAX)] {
            if value.get() > max {
                wrong(key, format!("{key} is {value}; it must be from 1 to {max}"), None);
            }
        }
        if self.timeout.is_zero() {
            wrong("timeout", "timeout is 0s; no collector could answer".to_owned(), None);
        } else if self.deadline < self.timeout {
            let (deadline, timeout) = (self.deadline, self.timeout);
            let (deadline, timeout) =
                (quantity::format_duration(deadline), quantity::format_duration(timeout));
            wrong(
                "deadline",
                format!("deadline is {deadline}; it must be at least timeout, {timeout}"),
                None,
            );
        }
        problems
    }
}
