/// Bytes of the header of a frame.
pub(super) const HEADER_BYTES: usize = 9;

/// Bytes of the code of an error, all that RST_STREAM carries.
pub(super) const CODE_BYTES: usize = 4;

/// The types of frames that are looked at (RFC 9113, section 6).
pub(super) mod kind {
    pub(in crate::wire::http2) const DATA: u8 = 0;
    pub(in crate::wire::http2) const HEADERS: u8 = 1;
    pub(in crate::wire::http2) const RST_STREAM: u8 = 3;
    pub(in crate::wire::http2) const SETTINGS: u8 = 4;
    pub(in crate::wire::http2) const PUSH_PROMISE: u8 = 5;
    pub(in crate::wire::http2) const PING: u8 = 6;
    pub(in crate::wire::http2) const GOAWAY: u8 = 7;
    pub(in crate::wire::http2) const WINDOW_UPDATE: u8 = 8;
    pub(in crate::wire::http2) const CONTINUATION: u8 = 9;
}

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// The header of a frame (RFC 9113, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Bytes of its payload.
    pub(super) length: u32,
    pub(super) kind: u8,
    flags: u8,
    pub(super) stream: u32,
}

impl FrameHeader {
    /// The header that `bytes` begin with; `None` while it is incomplete.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, stream @ ..] = bytes.first_chunk::<HEADER_BYTES>()?;
        Some(Self {
            length: u32::from_be_bytes([0, *a, *b, *c]),
            kind: *kind,
            flags: *flags,
            // The highest bit is reserved and means nothing.
            stream: u32::from_be_bytes(*stream) & (u32::MAX >> 1),
        })
    }

    /// Bytes of the whole frame.
    pub(super) fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.length as usize
    }

    /// Whether the frame ends its stream.
    pub(super) fn ends_stream(&self) -> bool {
        self.flags & END_STREAM != 0
    }

    /// Whether the frame ends the headers that it belongs to.
    pub(super) fn ends_headers(&self) -> bool {
        self.flags & END_HEADERS != 0
    }

    /// Whether it resets its stream, as h2 understands it.
    pub(super) fn is_reset(&self) -> bool {
        self.kind == kind::RST_STREAM && self.length as usize == CODE_BYTES
    }

    /// Whether it is DATA that neither carries anything nor ends its stream; `None` while the byte is not
    /// there, the first of the payload `bytes`, that says how much of the payload is padding.
    pub(super) fn is_empty_data(&self, bytes: &[u8]) -> Option<bool> {
        if self.kind != kind::DATA || self.flags & END_STREAM != 0 {
            return Some(false);
        }
        if self.flags & PADDED == 0 || self.length == 0 {
            return Some(self.length == 0);
        }
        bytes.first().map(|padding| u32::from(*padding) + 1 >= self.length)
    }
}
