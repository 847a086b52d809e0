use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::quantity::{self, ByteSize, DurationText};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Http2LimitsConfig, Problem};

/// `[server.client_limits]`: what a client may take, whatever it asks for. Bodies have `body_max`, a policy key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "ClientLimits")]
pub struct ClientLimitsConfig {
    /// Connections that clients may have open together. One more is closed at once. Default 10000.
    pub connections_max: NonZeroU32,
    /// Connections that one address may have open. One more is closed at once. Default: no limit but
    /// `connections_max`.
    pub connections_per_address_max: Option<NonZeroU32>,
    /// Bytes of a request's head, or of the trailers of a body: 1KiB to 256KiB; of HTTP/2 as they are before
    /// compression, with 32 for each header. More is answered 431. Services may send heads as long. Default
    /// "32KiB".
    pub header_bytes_max: ByteSize,
    /// Headers of a request, or of an answer: 1 to 1000. More is answered 431. Default 100.
    pub headers_max: NonZeroU32,
    /// Bytes of a request's target, which must leave room in `header_bytes_max`. More is answered 414.
    /// Default "8KiB".
    pub uri_bytes_max: ByteSize,
    /// How long an HTTP/1.1 head may take from its first byte to its last. Longer is answered 408. Default
    /// "10s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub header_timeout: Duration,
    /// How long a connection may be open with no request under way. Then it is closed. Default "30s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub idle_timeout: Duration,
    /// How long a client may pause in the middle of a request's body before its service answers. Longer is
    /// answered 408. Default "30s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub body_timeout: Duration,
    /// Bytes a second that a client must send of a request's body on average, of the time in which it is waited for,
    /// `body_timeout` of which is free: 1B to 1MiB. Slower before its service answers is answered 408. Default
    /// "100B".
    pub body_rate_min: ByteSize,
    /// How long a client may take nothing of an answer that waits for it. Then its connection is reset, in
    /// HTTP/2 the stream alone.
    /// Default "1min".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub send_timeout: Duration,
    /// Bytes that a switched connection, such as a WebSocket, may hold for each direction while its other
    /// side is slow: 1KiB to 64KiB. Default "16KiB".
    pub upgrade_buffer: ByteSize,
    /// What a client may do on one HTTP/2 connection.
    pub http2: Http2LimitsConfig,
}

impl Default for ClientLimitsConfig {
    fn default() -> Self {
        Self {
            connections_max: NonZeroU32::new(10_000).expect("10000 is not zero"),
            connections_per_address_max: None,
            header_bytes_max: ByteSize::from_bytes(32 << 10),
            headers_max: NonZeroU32::new(100).expect("100 is not zero"),
            uri_bytes_max: ByteSize::from_bytes(8 << 10),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            body_rate_min: ByteSize::from_bytes(100),
            send_timeout: Duration::from_secs(60),
            upgrade_buffer: ByteSize::from_bytes(16 << 10),
            http2: Http2LimitsConfig::default(),
        }
    }
}

/// More than hyper's buffer takes could never be read.
const HEADER_BYTES: std::ops::RangeInclusive<u64> = 1 << 10..=256 << 10;

/// Faster than this not every line is.
const BODY_RATE: std::ops::RangeInclusive<u64> = 1..=1 << 20;

/// A tunnel reads as much at once, on its stack.
pub(crate) const UPGRADE_BUFFER_MAX: usize = 64 << 10;

/// More than a map of headers takes without growing slow.
const HEADERS_MAX: u32 = 1000;

impl ClientLimitsConfig {
    /// What is wrong with the limits.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, message: String| {
            problems.push(Problem::error(["server", "client_limits", key], message));
        };
        let (head, uri) = (self.header_bytes_max, self.uri_bytes_max);
        if let Some(each) = self.connections_per_address_max
            && each > self.connections_max
        {
            let all = self.connections_max;
            let message =
                format!("{each} connections from one address can never be reached: connections_max is {all}");
            wrong("connections_per_address_max", message);
        }
        if !HEADER_BYTES.contains(&head.bytes()) {
            wrong("header_bytes_max", format!("header_bytes_max is {head}; it must be from 1KiB to 256KiB"));
        }
        if self.headers_max.get() > HEADERS_MAX {
            let count = self.headers_max;
            wrong("headers_max", format!("headers_max is {count}; it must be from 1 to {HEADERS_MAX}"));
        }
        // What follows from a wrong value is not told a second time.
        if HEADER_BYTES.contains(&head.bytes()) && (uri.bytes() == 0 || uri >= head) {
            let message = format!("uri_bytes_max is {uri}; it must be less than header_bytes_max, {head}");
            wrong("uri_bytes_max", message);
        } else if uri.bytes() >= 1 << 16 {
            wrong("uri_bytes_max", format!("uri_bytes_max is {uri}; it must be less than 64KiB"));
        }
        for (key, time) in [("header_timeout", self.header_timeout), ("idle_timeout", self.idle_timeout)] {
            if time.is_zero() {
                wrong(key, format!("{key} is 0s; no request could be read"));
            }
        }
        if self.body_timeout.is_zero() {
            wrong("body_timeout", "body_timeout is 0s; no body could be read".to_owned());
        }
        let rate = self.body_rate_min;
        if !BODY_RATE.contains(&rate.bytes()) {
            wrong("body_rate_min", format!("body_rate_min is {rate}; it must be from 1B to 1MiB"));
        }
        if self.send_timeout.is_zero() {
            wrong("send_timeout", "send_timeout is 0s; no answer could be written".to_owned());
        }
        if self.header_timeout > self.idle_timeout && !self.idle_timeout.is_zero() {
            let (header, idle) = (self.header_timeout, self.idle_timeout);
            let (header, idle) = (quantity::format_duration(header), quantity::format_duration(idle));
            let message =
                format!("header_timeout is {header}; idle_timeout, {idle}, ends the connection before");
            problems.push(Problem::error(["server", "client_limits", "header_timeout"], message));
        }
        let buffer = self.upgrade_buffer;
        if !(1 << 10..=UPGRADE_BUFFER_MAX as u64).contains(&buffer.bytes()) {
            let message = format!("upgrade_buffer is {buffer}; it must be from 1KiB to 64KiB");
            problems.push(Problem::error(["server", "client_limits", "upgrade_buffer"], message));
        }
        problems.extend(self.http2.problems(self.header_bytes_max));
        problems
    }
}
