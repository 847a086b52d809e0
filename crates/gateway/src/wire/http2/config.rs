use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::quantity::ByteSize;

use super::flood::Counted;
use crate::config::{ClientLimitsConfig, FRAME_BYTES, continuations_for};

/// What one client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FloodLimits {
    /// For how long frames are counted together.
    pub(super) window: Duration,
    /// How many in one window, of each that is [`Counted`].
    pub(super) most: [u32; Counted::KINDS],
    /// CONTINUATION frames of one header block.
    pub(super) continuations: u32,
    /// Bytes of one header block as they are sent.
    pub(super) block_bytes: usize,
    /// Streams whose answers are waited for.
    pub(super) unanswered: usize,
}

impl From<&ClientLimitsConfig> for FloodLimits {
    fn from(config: &ClientLimitsConfig) -> Self {
        let http2 = &config.http2;
        let most = Counted::ALL.map(|counted| match counted {
            Counted::Reset => http2.resets_max,
            Counted::Settings => http2.settings_max,
            Counted::Ping => http2.pings_max,
            Counted::WindowUpdate => http2.window_updates_max,
            Counted::Ignored => http2.ignored_frames_max,
            Counted::EmptyData => http2.empty_data_max,
        });
        let continuations = http2
            .continuations_max
            .map_or_else(|| continuations_for(config.header_bytes_max), NonZeroU32::get);
        let block_bytes = CodecLimits::from(config).header_list_bytes as usize;
        Self {
            window: http2.flood_window,
            most: most.map(NonZeroU32::get),
            continuations,
            block_bytes,
            unanswered: 2 * http2.streams_max.get() as usize,
        }
    }
}

impl FloodLimits {
    /// What one service may send: as a client, but for what its answers are made of, which h2 bounds, and for
    /// resets, of which each has cost a request.
    pub(crate) fn of_service(config: &ClientLimitsConfig) -> Self {
        let mut limits = Self { continuations: u32::MAX, block_bytes: usize::MAX, ..Self::from(config) };
        for counted in [Counted::Reset, Counted::EmptyData] {
            limits.most[counted as usize] = u32::MAX;
        }
        limits
    }
}

/// What h2 bounds itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CodecLimits {
    /// Streams that a client may have open together.
    pub(crate) streams: u32,
    /// The largest payload that a client may send.
    pub(crate) frame_bytes: u32,
    /// Bytes of a header list. Twice `header_bytes_max`, so that what is above that is answered by us and not
    /// by h2, which would not say why.
    pub(crate) header_list_bytes: u32,
    /// Streams that the client has reset and nobody has looked at.
    pub(crate) resets_unseen: usize,
    /// Streams that h2 has reset because of what the client did, since the connection began. Far more than in
    /// one window, after which the reader ends the connection: it is there for a client that does not read,
    /// since the reader only knows of a reset when it is written.
    pub(crate) resets_made: usize,
    /// Bytes of each stream's answer that wait to be sent.
    pub(crate) send_buffer_bytes: usize,
    /// Bytes of each stream's body that wait to be taken.
    pub(crate) stream_window: u32,
    /// The same of all streams together.
    pub(crate) connection_window: u32,
}

impl From<&ClientLimitsConfig> for CodecLimits {
    fn from(config: &ClientLimitsConfig) -> Self {
        let resets = config.http2.resets_max.get() as usize;
        let bytes = |size: ByteSize| u32::try_from(size.bytes()).unwrap_or(u32::MAX);
        Self {
            streams: config.http2.streams_max.get(),
            frame_bytes: FRAME_BYTES,
            header_list_bytes: bytes(config.header_bytes_max).saturating_mul(2),
            resets_unseen: resets,
            resets_made: resets.saturating_mul(4),
            send_buffer_bytes: bytes(config.http2.send_buffer_max) as usize,
            stream_window: bytes(config.http2.stream_window),
            connection_window: bytes(config.http2.connection_window),
        }
    }
}
