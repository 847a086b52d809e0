use super::PREFACE_BYTES;
use super::header::{FrameHeader, HEADER_BYTES, kind};

/// The codes of errors that streams end with for reasons that are not the client's (RFC 9113, section 7).
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

/// The code of REFUSED_STREAM: h2 resets with it what is above the limit of streams, and nothing else.
const REFUSED_STREAM: u32 = 7;

/// The most bytes of a frame that are looked at: its header, and where GOAWAY has its code behind the number
/// of a stream.
const LOOKED_AT_MAX: usize = HEADER_BYTES + 8;

/// HPACK's representations of `:status` by its index, 8, with a value of its own (RFC 7541, section 6.2).
const STATUS_LITERALS: [u8; 3] = [0x48, 0x08, 0x18];

/// The first index of a field that was sent before, as a byte (RFC 7541, sections 2.3.3 and 6.1).
const INDEXED_FIRST: u8 = 0x80 | 62;

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
    /// Headers: of a request, of an answer or behind a body.
    Head {
        stream: u32,
        /// Whether they end the stream, and are one field that can be a status.
        only_a_status: bool,
    },
    /// A stream was reset.
    Reset { stream: u32 },
    /// The same because of what the client did.
    MadeReset { stream: u32 },
    /// The same because it was one too many.
    Refused { stream: u32 },
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
            Some(header) if header.kind == kind::HEADERS && header.frame_bytes() <= LOOKED_AT_MAX => {
                header.frame_bytes()
            }
            _ => HEADER_BYTES,
        }
    }
}

fn meaning(header: &FrameHeader, payload: &[u8]) -> Option<Written> {
    let stream = header.stream;
    let code = |at: usize| payload.get(at..)?.first_chunk().copied().map(u32::from_be_bytes);
    match header.kind {
        kind::DATA => Some(Written::Data(header.length)),
        kind::HEADERS => {
            let only_a_status = header.ends_stream() && can_be_a_status(payload);
            Some(Written::Head { stream, only_a_status })
        }
        kind::RST_STREAM => Some(match code(0)? {
            NO_ERROR | INTERNAL_ERROR | CANCEL => Written::Reset { stream },
            REFUSED_STREAM => Written::Refused { stream },
            _ => Written::MadeReset { stream },
        }),
        kind::GOAWAY if code(4)? != NO_ERROR => Some(Written::Goodbye),
        _ => None,
    }
}

/// Whether a header block has one field, which is a status or was sent before.
fn can_be_a_status(block: &[u8]) -> bool {
    match block {
        // A new size of the table, of one byte or of more.
        [0x20..=0x3e, rest @ ..] => can_be_a_status(rest),
        [0x3f, rest @ ..] => {
            let end = rest.iter().position(|byte| byte & 0x80 == 0);
            end.is_some_and(|end| can_be_a_status(&rest[end + 1..]))
        }
        [0xff, more @ .., last] => last & 0x80 == 0 && more.iter().all(|byte| byte & 0x80 != 0),
        [index] => *index >= INDEXED_FIRST,
        [literal, length, value @ ..] => {
            STATUS_LITERALS.contains(literal) && usize::from(length & 0x7f) == value.len()
        }
        [] => false,
    }
}
