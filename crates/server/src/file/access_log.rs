use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;
use intertie_core::quantity::{self, DurationText, Ratio};
use intertie_gateway::config::Problem;
use intertie_gateway::proxy::AccessTerms;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, de};

/// `access_log = "stdout"`, or a table that says more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AccessLogSetting(pub(crate) AccessLogConfig);

/// `[server.access_log]`: which finished requests are told where, and how much of each.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "AccessLog")]
pub(crate) struct AccessLogConfig {
    /// Where: "stdout" (the default), "off", or the path of a file.
    pub(crate) to: String,
    /// How a line looks: `json` (the default) or `text`.
    pub(crate) format: AccessLogFormat,
    /// The share of successful requests that are told. Those that fail, are answered 400 or above, or are slow
    /// always are. Default "100%".
    pub(crate) sample: Ratio,
    /// A request that takes as long is always told. Above zero. Default "1s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub(crate) slow: Duration,
    /// Whether the query is told. Default false: it may hold secrets.
    pub(crate) query: bool,
    /// Query parameters and headers, at most 64, whose values are replaced by `[redacted]`. Default: the usual
    /// names of secrets in queries.
    pub(crate) redact: Vec<String>,
    /// Request headers that are told, at most 16 and 256 bytes of each. Authorization and cookies never are.
    /// Default none.
    pub(crate) headers: Vec<String>,
    /// Lines that may wait to be written, at most 1000000. Further ones are dropped and counted. Default 16384.
    pub(crate) queue: NonZeroU32,
}

/// How the access log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AccessLogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// Words for people.
    Text,
}

/// What is redacted unless the file says otherwise.
const REDACTED: [&str; 12] = [
    "access_token",
    "api_key",
    "apikey",
    "client_secret",
    "code",
    "key",
    "password",
    "refresh_token",
    "secret",
    "sig",
    "signature",
    "token",
];

/// Headers that hold secrets by their nature.
const NEVER: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];

const QUEUE_MAX: u32 = 1_000_000;
const REDACT_MAX: usize = 64;
const HEADERS_MAX: usize = 16;

impl Default for AccessLogConfig {
    fn default() -> Self {
        Self {
            to: "stdout".to_owned(),
            format: AccessLogFormat::Json,
            sample: Ratio::ONE,
            slow: Duration::from_secs(1),
            query: false,
            redact: REDACTED.map(str::to_owned).to_vec(),
            headers: Vec::new(),
            queue: NonZeroU32::new(16_384).expect("16384 is not zero"),
        }
    }
}

impl AccessLogConfig {
    /// The same as the data plane takes it.
    pub(crate) fn terms(&self) -> AccessTerms {
        let header = |name: &String| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let shown = Arc::from(name.as_str());
            Some((name, shown))
        };
        AccessTerms {
            sample: self.sample,
            slow: self.slow,
            query: self.query,
            redact: self.redact.iter().map(|name| name.to_ascii_lowercase()).collect(),
            headers: self.headers.iter().filter_map(header).collect(),
        }
    }

    /// What is wrong.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, message: String| {
            problems.push(Problem::error(["server", "access_log", key], message));
        };
        if self.to.is_empty() {
            wrong("to", "the access log has an empty path".to_owned());
        }
        if self.slow.is_zero() {
            wrong("slow", "slow is 0s; every request would be slow".to_owned());
        }
        if self.queue.get() > QUEUE_MAX {
            wrong("queue", format!("queue is {}; it must be from 1 to {QUEUE_MAX}", self.queue));
        }
        for (key, count, max) in
            [("redact", self.redact.len(), REDACT_MAX), ("headers", self.headers.len(), HEADERS_MAX)]
        {
            if count > max {
                wrong(key, format!("{key} has {count} names; it may have {max}"));
            }
        }
        let mut seen = HashSet::new();
        for name in &self.headers {
            if !seen.insert(name.to_ascii_lowercase()) {
                wrong("headers", format!("`{name}` is there twice"));
            }
            match HeaderName::from_bytes(name.as_bytes()) {
                Err(_) => wrong("headers", format!("`{name}` is no header name")),
                Ok(known) if NEVER.contains(&known.as_str()) => {
                    wrong("headers", format!("`{name}` holds secrets and is never told"));
                }
                Ok(_) => {}
            }
        }
        problems
    }
}

impl<'de> Deserialize<'de> for AccessLogSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrTable;

        impl<'de> de::Visitor<'de> for TextOrTable {
            type Value = AccessLogSetting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"stdout\", \"off\", a path, or a table")
            }

            fn visit_str<E: de::Error>(self, to: &str) -> Result<Self::Value, E> {
                Ok(AccessLogSetting(AccessLogConfig { to: to.to_owned(), ..AccessLogConfig::default() }))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                AccessLogConfig::deserialize(MapAccessDeserializer::new(map)).map(AccessLogSetting)
            }
        }

        deserializer.deserialize_any(TextOrTable)
    }
}

impl JsonSchema for AccessLogSetting {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AccessLogSetting".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<AccessLogConfig>();
        json_schema!({ "anyOf": [{ "type": "string" }, table] })
    }
}
