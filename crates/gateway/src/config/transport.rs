use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use intertie_core::quantity::ByteSize;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Problem, Time};

/// The version of HTTP that a service is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1: one exchange at a time on each connection.
    #[default]
    Http1,
    /// HTTP/2, by prior knowledge without TLS: many exchanges on each connection.
    Http2,
    /// HTTP/2 where the service agrees to it by ALPN, otherwise HTTP/1.1. Needs TLS.
    Negotiate,
}

impl Protocol {
    /// As files spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Negotiate => "negotiate",
        }
    }
}

/// `[service.NAME] http2`: the bounds of HTTP/2 connections to a service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Http2")]
pub struct Http2Config {
    /// Exchanges at a time on one connection, 1 to 10000; the service may allow fewer. Default 100.
    pub streams_max: NonZeroU32,
    /// Connections that each data thread opens to each endpoint. When all are full, a request is not sent.
    /// Default 16.
    pub connections_max: NonZeroU32,
    /// Bytes of one answer that may wait for a client that is slow to read: 64KiB to 64MiB. Default "256KiB".
    pub stream_window: ByteSize,
    /// Bytes of all answers of one connection that may wait: from `stream_window` to 1GiB. Once they do, every
    /// further answer on it waits as well, whoever it is for. Default "25MiB", a `stream_window` for each of 100
    /// exchanges.
    pub connection_window: ByteSize,
    /// How long a connection with exchanges under way may be silent before the service is asked by PING
    /// whether it is still there. Default: it is not asked.
    pub ping_interval: Option<Time>,
    /// How long the answer to a PING may take; then the connection is given up. Needs `ping_interval`.
    /// Default "10s".
    pub ping_timeout: Option<Time>,
}

impl Default for Http2Config {
    fn default() -> Self {
        Self {
            streams_max: NonZeroU32::new(100).expect("100 is not zero"),
            connections_max: NonZeroU32::new(16).expect("16 is not zero"),
            stream_window: ByteSize::from_bytes(256 << 10),
            connection_window: ByteSize::from_bytes(25 << 20),
            ping_interval: None,
            ping_timeout: None,
        }
    }
}

/// More streams than anyone needs, and fewer than a connection has numbers for.
const STREAMS_MAX: u32 = 10_000;

/// HTTP/2 begins with a window of 64 KiB less one byte.
const STREAM_WINDOW: RangeInclusive<u64> = 64 << 10..=64 << 20;

const CONNECTION_WINDOW_MAX: u64 = 1 << 30;

/// Which of the windows of a stream and of its connection can not be, and why.
pub(super) fn wrong_window(stream: ByteSize, connection: ByteSize) -> Option<(&'static str, String)> {
    if !STREAM_WINDOW.contains(&stream.bytes()) {
        let message = format!("stream_window is {stream}; it must be from 64KiB to 64MiB");
        return Some(("stream_window", message));
    }
    let possible = (stream.bytes()..=CONNECTION_WINDOW_MAX).contains(&connection.bytes());
    let message =
        || format!("connection_window is {connection}; it must be from stream_window, {stream}, to 1GiB");
    (!possible).then(|| ("connection_window", message()))
}

impl Http2Config {
    /// What is wrong with the bounds of the service `name`.
    pub(crate) fn problems(&self, name: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, message: String| {
            problems.push(Problem::error(["service", name, "http2", key], message));
        };
        if self.streams_max.get() > STREAMS_MAX {
            let streams = self.streams_max;
            wrong("streams_max", format!("streams_max is {streams}; it must be from 1 to {STREAMS_MAX}"));
        }
        if let Some((key, message)) = wrong_window(self.stream_window, self.connection_window) {
            wrong(key, message);
        }
        if self.ping_timeout.is_some() && self.ping_interval.is_none() {
            wrong("ping_timeout", "no PING is sent: `ping_interval` is missing".to_owned());
        }
        problems
    }
}
