use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::quantity::{self, ByteSize, DurationText};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Problem;
use super::transport::wrong_window;

/// `http2` in `[server.client_limits]`: what a client may do on one HTTP/2 connection. More than a limit on
/// frames ends the connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Http2Limits")]
pub struct Http2LimitsConfig {
    /// Streams that may be open together. One more is refused, and may be tried again. Default 200.
    pub streams_max: NonZeroU32,
    /// How long frames are counted together. Default "10s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub flood_window: Duration,
    /// Streams in a `flood_window` that the client resets, or makes the gateway reset. Default 1000.
    pub resets_max: NonZeroU32,
    /// SETTINGS frames in a `flood_window`, acknowledgements among them. Default 100.
    pub settings_max: NonZeroU32,
    /// PING frames in a `flood_window`, beyond one for each DATA frame that the client is sent. Default 1000.
    pub pings_max: NonZeroU32,
    /// WINDOW_UPDATE frames in a `flood_window`, beyond two for each 1 KiB of a DATA frame that the client
    /// is sent, and four for the shortest. Default 5000.
    pub window_updates_max: NonZeroU32,
    /// Frames in a `flood_window` that change nothing: PRIORITY, GOAWAY, types that are not known. Default
    /// 1000.
    pub ignored_frames_max: NonZeroU32,
    /// DATA frames in a `flood_window` without data that do not end their stream: 1 to 100. Default 50.
    pub empty_data_max: NonZeroU32,
    /// CONTINUATION frames of one header block, at most as many as `header_bytes_max` has room for. Default:
    /// as many.
    pub continuations_max: Option<NonZeroU32>,
    /// Bytes of each stream's answer that wait for the client: 16KiB to 16MiB. Default "64KiB".
    pub send_buffer_max: ByteSize,
    /// Bytes of one request's body that may wait for a service that is slow to take them: 64KiB to 64MiB.
    /// Default "256KiB".
    pub stream_window: ByteSize,
    /// Bytes of all bodies of one connection that may wait: from `stream_window` to 1GiB. Once they do, every
    /// further body on it waits as well, whichever service it is for. Default "4MiB".
    pub connection_window: ByteSize,
}

impl Default for Http2LimitsConfig {
    fn default() -> Self {
        let count = |count: u32| NonZeroU32::new(count).expect("no limit is zero");
        Self {
            streams_max: count(200),
            flood_window: Duration::from_secs(10),
            resets_max: count(1000),
            settings_max: count(100),
            pings_max: count(1000),
            window_updates_max: count(5000),
            ignored_frames_max: count(1000),
            empty_data_max: count(50),
            continuations_max: None,
            send_buffer_max: ByteSize::from_bytes(64 << 10),
            stream_window: ByteSize::from_bytes(256 << 10),
            connection_window: ByteSize::from_bytes(4 << 20),
        }
    }
}

/// The largest payload of a frame: the least that a peer may choose, and more than enough.
pub(crate) const FRAME_BYTES: u32 = 16 << 10;

/// What h2 allows whatever the size of a frame; it counts no others but those that do not end the block.
const CONTINUATIONS_LEAST: u32 = 5;

/// What h2 takes in the life of a connection before it ends it.
const EMPTY_DATA: u32 = 100;

const SEND_BUFFER_BYTES: std::ops::RangeInclusive<u64> = 16 << 10..=16 << 20;

/// How many CONTINUATION frames a header block can have that is twice as long as `header_bytes_max`, before
/// which h2 would not end the connection itself.
pub(crate) fn continuations_for(header_bytes_max: ByteSize) -> u32 {
    let frames = header_bytes_max.bytes().saturating_mul(2).div_ceil(u64::from(FRAME_BYTES));
    u32::try_from(frames).unwrap_or(u32::MAX).max(CONTINUATIONS_LEAST)
}

impl Http2LimitsConfig {
    /// What is wrong with the limits, where heads have `header_bytes_max`.
    pub(super) fn problems(&self, header_bytes_max: ByteSize) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, message: String| {
            problems.push(Problem::error(["server", "client_limits", "http2", key], message));
        };
        if self.flood_window.is_zero() {
            wrong("flood_window", "flood_window is 0s; no frame could be counted".to_owned());
        }
        if self.empty_data_max.get() > EMPTY_DATA {
            let count = self.empty_data_max;
            wrong("empty_data_max", format!("empty_data_max is {count}; it must be from 1 to {EMPTY_DATA}"));
        }
        let most = continuations_for(header_bytes_max);
        if let Some(count) = self.continuations_max
            && count.get() > most
        {
            let message = format!(
                "continuations_max is {count}; header_bytes_max, {header_bytes_max}, has room for {most}"
            );
            wrong("continuations_max", message);
        }
        if !SEND_BUFFER_BYTES.contains(&self.send_buffer_max.bytes()) {
            let size = self.send_buffer_max;
            wrong("send_buffer_max", format!("send_buffer_max is {size}; it must be from 16KiB to 16MiB"));
        }
        if let Some((key, message)) = wrong_window(self.stream_window, self.connection_window) {
            wrong(key, message);
        }
        problems
    }
}
