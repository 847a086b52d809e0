use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::quantity::{self, ByteSize, DurationText};
use intertie_gateway::config::{Problem, nearest};
use schemars::JsonSchema;
use serde::Deserialize;

use super::ServerConfig;

/// Where the API listens when the file has queues and does not say.
pub(super) const DEFAULT_API: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8081);

/// `[server.api_limits]`: what a client of the API may take.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "ApiLimits")]
pub(crate) struct ApiLimitsConfig {
    /// Connections at the same time; a further one is closed at once. Default 1024.
    pub(crate) connections_max: NonZeroU32,
    /// Requests at the same time on one connection of HTTP/2. Default 256.
    pub(crate) streams_max: NonZeroU32,
    /// Bytes of the head of a request, from "8KiB" to "1MiB". Default "32KiB".
    pub(crate) header_bytes_max: ByteSize,
    /// Bytes of the body of a request, so also of a batch, at most "8MiB", which one commit takes. The largest message
    /// is that of its queue, `message_bytes_max`. Default "8MiB".
    pub(crate) body_bytes_max: ByteSize,
    /// Events of a batch, and leases, settlements, names or messages of one request, at most 10000. Default 1000.
    pub(crate) batch_max: NonZeroU32,
    /// The longest time for the head of a request, which is also how long a connection may be idle. Default "1min".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub(crate) header_timeout: Duration,
    /// The longest time for the body of a request. Default "30s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub(crate) body_timeout: Duration,
    /// How long a client may take nothing of an answer that waits for it; then its connection is reset. Default "1min".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub(crate) send_timeout: Duration,
    /// The longest time that a lease may wait for its first message. Default "1min".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub(crate) wait_max: Duration,
}

impl Default for ApiLimitsConfig {
    fn default() -> Self {
        let count = |count| NonZeroU32::new(count).expect("defaults are not zero");
        Self {
            connections_max: count(1024),
            streams_max: count(256),
            header_bytes_max: ByteSize::from_bytes(32 << 10),
            body_bytes_max: ByteSize::from_bytes(BODY_BYTES_MAX),
            batch_max: count(1000),
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            send_timeout: Duration::from_secs(60),
            wait_max: Duration::from_secs(60),
        }
    }
}

/// The shortest pause that is no hiccup of a network.
const SEND_TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// What one commit of the store takes.
const BODY_BYTES_MAX: u64 = 8 << 20;

/// The operations that one commit of the store takes.
const BATCH_MAX: u32 = 10_000;

impl ApiLimitsConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, message: String| {
            problems.push(Problem::error(["server", "api_limits", key], message));
        };
        let header = self.header_bytes_max;
        if !(8 << 10..=1 << 20).contains(&header.bytes()) {
            wrong("header_bytes_max", format!("header_bytes_max is {header}; it must be from 8KiB to 1MiB"));
        }
        let body = self.body_bytes_max;
        if !(1..=BODY_BYTES_MAX).contains(&body.bytes()) {
            wrong(
                "body_bytes_max",
                format!("body_bytes_max is {body}; it must be above 0B and at most 8MiB"),
            );
        }
        if self.batch_max.get() > BATCH_MAX {
            wrong("batch_max", format!("batch_max is {}; it must be from 1 to {BATCH_MAX}", self.batch_max));
        }
        for (key, time) in [("header_timeout", self.header_timeout), ("body_timeout", self.body_timeout)] {
            if time.is_zero() {
                wrong(key, format!("{key} is 0s; no request could come in time"));
            }
        }
        if self.send_timeout < SEND_TIMEOUT_MIN {
            let (time, limit) = (self.send_timeout, SEND_TIMEOUT_MIN);
            let (time, limit) = (quantity::format_duration(time), quantity::format_duration(limit));
            wrong("send_timeout", format!("send_timeout is {time}; it must be at least {limit}"));
        }
        problems
    }
}

/// What is wrong with a file that has no tokens for an API that listens at `running`: another address takes effect with
/// the next start, and the tokens at once.
pub(crate) fn opened_to_everyone(running: SocketAddr, has_tokens: bool) -> Option<Problem> {
    let is_open = !has_tokens && !running.ip().is_loopback();
    is_open.then(|| {
        let message = format!(
            "the API listens at `{running}` until the next start, and without a token it would serve everyone"
        );
        let problem = Problem::error(["server", "api"], message);
        problem.help("leave the tokens in the file until the server has started anew")
    })
}

/// What is wrong with where the API listens, when it does so at `api`, with tokens or without, and with these
/// certificates in the file.
pub(super) fn problems<'a>(
    server: &ServerConfig,
    api: Option<SocketAddr>,
    has_tokens: bool,
    certificates: impl Iterator<Item = &'a str> + Clone,
) -> Vec<Problem> {
    let mut problems = server.api_limits.problems();
    let certificate = server.api_certificate.as_deref();
    if let Some(api) = api.filter(|api| !api.ip().is_loopback()) {
        let mut wants = |what: &str, help: &str| {
            let message = format!("the API can be reached from outside at `{api}`, and {what}");
            problems.push(Problem::error(["server", "api"], message).help(help));
        };
        if certificate.is_none() {
            wants("speaks without TLS", "api_certificate = \"NAME\" and [certificate.NAME]");
        }
        if !has_tokens {
            wants("serves everyone", "[token.NAME] secret = \"env:NAME\", allow = [\"send orders\"]");
        }
    }
    if let Some(name) = certificate.filter(|name| !certificates.clone().any(|known| known == *name)) {
        let problem =
            Problem::error(["server", "api_certificate"], format!("there is no certificate `{name}`"));
        problems.push(match nearest(name, certificates) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(format!("declare it as [certificate.{name}]")),
        });
    }
    if certificate.is_some() && api.is_none() {
        let message = "nobody is shown the certificate: there is no queue, and no `api`";
        problems.push(Problem::error(["server", "api_certificate"], message));
    }
    if server.data.as_ref().is_some_and(|data| data.as_os_str().is_empty()) {
        let message = "data is empty; it must be the path of a directory";
        problems.push(Problem::error(["server", "data"], message).help("data = \"data\""));
    }
    problems
}
