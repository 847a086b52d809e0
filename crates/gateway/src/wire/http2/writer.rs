use super::PREFACE_BYTES;
use super::header::{FrameHeader, HEADER_BYTES, kind};

/// The codes of errors that streams end with for reasons that are not the client's (RFC 9113, section 7).
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

/// The most bytes of a frame that are looked at: its header, and where GOAWAY has its code behind the number
/// of a stream.
const LOOKED_AT_MAX: usize = HEADER_BYTES + 8;

/// Follows what h2 sends from frame to frame, however its writes are cut.
#[derive(Debug, Default)]
pub(crate) struct FrameWriter {
    /// The beginning of the frame that comes.
    start: [u8; LOOKED_AT_MAX],
    /// How much of it is there.
    length: usize,
    /// How much is still to come of a payload.
    left: usize,
}

/// What frames that were sent say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// So many bytes of a body, with its padding.
    Data(u32),
    /// A request, or an answer.
    Head,
    /// A stream was reset.
    Reset,
    /// The same because of what the client did.
    MadeReset,
    /// The connection ends because of what the client did.
    Goodbye,
}

impl FrameWriter {
    /// For what is sent to a service, which begins with the preface.
    pub(crate) fn to_service() -> Self {
        Self { left: PREFACE_BYTES, ..Self::default() }
    }

    /// Looks at `bytes` that were sent, and tells of each frame among them that says something.
    pub(crate) fn look(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Written)) {
        loop {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let wanted = self.wanted();
            let taken = bytes.len().min(wanted - self.length);
            self.start[self.length..self.length + taken].copy_from_slice(&bytes[..taken]);
            self.length += taken;
            bytes = &bytes[taken..];
            if self.length < self.wanted() {
                continue;
            }
            if let Some(header) = FrameHeader::parse(&self.start[..self.length]) {
                if let Some(written) = meaning(&header, &self.start[HEADER_BYTES..self.length]) {
                    tell(written);
                }
                self.left = header.frame_bytes() - self.length;
            }
            self.length = 0;
        }
    }

    /// How many bytes of the frame have to be there to tell what it says.
    fn wanted(&self) -> usize {
        match FrameHeader::parse(&self.start[..self.length]) {
            Some(header) if matches!(header.kind, kind::RST_STREAM | kind::GOAWAY) => {
                header.frame_bytes().min(LOOKED_AT_MAX)
            }
            _ => HEADER_BYTES,
        }
    }
}

fn meaning(header: &FrameHeader, payload: &[u8]) -> Option<Written> {
    let code = |at: usize| payload.get(at..)?.first_chunk().copied().map(u32::from_be_bytes);
    match header.kind {
        kind::DATA => Some(Written::Data(header.length)),
        kind::HEADERS => Some(Written::Head),
        kind::RST_STREAM if matches!(code(0)?, NO_ERROR | INTERNAL_ERROR | CANCEL) => Some(Written::Reset),
        kind::RST_STREAM => Some(Written::MadeReset),
        kind::GOAWAY if code(4)? != NO_ERROR => Some(Written::Goodbye),
        _ => None,
    }
}
