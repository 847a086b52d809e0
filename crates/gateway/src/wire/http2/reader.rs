use intertie_core::clock::Instant;

use super::flood::{Counted, Flood};
use super::header::{CODE_BYTES, FrameHeader, HEADER_BYTES, kind};
use super::unanswered::Unanswered;
use super::{FloodLimits, PREFACE_BYTES};
use crate::wire::{INTERIM_MAX, Seen, Violation};

/// Follows what the other side sends from frame to frame.
#[derive(Debug)]
pub(crate) struct FrameReader {
    limits: FloodLimits,
    flood: Flood,
    /// How much is still to come of what the reader does not look at: the preface, a payload.
    left: usize,
    /// The headers that are not complete.
    block: Option<Block>,
    /// Why the next frame is refused.
    refused: Option<Violation>,
    /// For a service: the heads of answers that may come.
    heads: Option<Heads>,
    /// For a client: what it asked.
    unanswered: Unanswered,
    /// Whether GOAWAY came.
    said_goodbye: bool,
}

/// How many heads of answers may come that do not end their streams, as all interim ones are: for each request
/// its own and [`INTERIM_MAX`] before it. They are not told apart by their streams, which would have to be kept.
#[derive(Debug, Clone, Copy)]
struct Heads {
    left: u32,
    most: u32,
    /// The same for streams that were cancelled, which the service may have answered before it knew. They are no
    /// longer among the `streams_max`, and what they bring is not taken from those that are.
    late: u32,
}

impl Heads {
    /// A request was sent.
    fn expect(&mut self) {
        self.left = self.left.saturating_add(HEADS_FOR_REQUEST).min(self.most);
    }

    /// A request was cancelled.
    fn expect_late(&mut self) {
        self.late = self.late.saturating_add(HEADS_FOR_REQUEST);
    }

    /// A head came; whether one may.
    fn take(&mut self) -> bool {
        let one = if self.late > 0 { &mut self.late } else { &mut self.left };
        one.checked_sub(1).map(|left| *one = left).is_some()
    }
}

const HEADS_FOR_REQUEST: u32 = 1 + INTERIM_MAX as u32;

/// The code of INTERNAL_ERROR (RFC 9113, section 7).
const FAILED: [u8; CODE_BYTES] = [0, 0, 0, 2];

/// Headers in more than one frame.
#[derive(Debug, Clone, Copy)]
struct Block {
    stream: u32,
    bytes: usize,
    continuations: u32,
}

impl FrameReader {
    /// A reader of what a client sends.
    pub(crate) fn new(limits: FloodLimits, now: Instant) -> Self {
        Self {
            limits,
            flood: Flood::new(now),
            left: PREFACE_BYTES,
            block: None,
            refused: None,
            heads: None,
            unanswered: Unanswered::default(),
            said_goodbye: false,
        }
    }

    /// A reader of what a service sends, which is asked for no more than `streams_max` answers at a time.
    pub(crate) fn of_service(limits: FloodLimits, streams_max: u32, now: Instant) -> Self {
        let heads = Heads { left: 0, most: streams_max.saturating_mul(HEADS_FOR_REQUEST), late: 0 };
        Self { left: 0, heads: Some(heads), ..Self::new(limits, now) }
    }

    /// A request was sent.
    pub(crate) fn head_was_sent(&mut self) {
        if let Some(heads) = &mut self.heads {
            heads.expect();
        }
    }

    /// Headers were sent to the client; `only_a_status` where they end their stream and have no other field.
    /// Tells whether they are an answer that h2 made itself, since the header list was longer than it takes:
    /// hyper's have a date.
    pub(crate) fn answer_was_sent(&mut self, stream: u32, only_a_status: bool) -> bool {
        self.unanswered.take(stream) && only_a_status
    }

    /// A stream of the client was reset.
    pub(crate) fn stream_has_ended(&mut self, stream: u32) {
        self.unanswered.take(stream);
    }

    /// A stream was cancelled: what the other side answered until it knew still comes.
    pub(crate) fn reset_was_sent(&mut self) {
        if let Some(heads) = &mut self.heads {
            heads.expect_late();
        }
    }

    /// Looks at `bytes`: those that did not pass last time, and what came behind them. What passes is whole
    /// headers of frames, and payloads as far as they are there.
    ///
    /// Resets of clients pass with the code of a failure, whatever they said: hyper takes a tunnel that its client
    /// resets with CANCEL or NO_ERROR for one that has ended.
    pub(crate) fn look(&mut self, bytes: &mut [u8], now: impl Fn() -> Instant) -> Seen {
        let mut passed = 0;
        loop {
            let skipped = self.left.min(bytes.len() - passed);
            (passed, self.left) = (passed + skipped, self.left - skipped);
            let rest = &bytes[passed..];
            if rest.is_empty() {
                return Seen { passed, violation: None };
            }
            if self.refused.is_some() {
                return Seen { passed, violation: self.refused };
            }
            let Some(header) = FrameHeader::parse(rest) else { return Seen { passed, violation: None } };
            let Some(is_empty_data) = header.is_empty_data(&rest[HEADER_BYTES..]) else {
                return Seen { passed, violation: None };
            };
            if header.is_reset() && self.heads.is_none() {
                let Some(code) = bytes[passed + HEADER_BYTES..].first_chunk_mut() else {
                    return Seen { passed, violation: None };
                };
                *code = FAILED;
                self.unanswered.take(header.stream);
            }
            match self.judge(header, is_empty_data, &now) {
                Ok(()) => self.left = header.frame_bytes(),
                Err(violation) => self.refused = Some(violation),
            }
        }
    }

    /// The stream whose headers are not complete: nothing but they may come.
    pub(crate) fn open_block(&self) -> Option<u32> {
        self.block.map(|block| block.stream)
    }

    /// Whether the other side has said that it will end the connection.
    pub(crate) fn has_said_goodbye(&self) -> bool {
        self.said_goodbye
    }

    /// A DATA frame of so many bytes went to the other side.
    pub(crate) fn data_was_sent(&mut self, bytes: u32) {
        self.flood.data_was_sent(bytes, &self.limits);
    }

    /// A stream was reset because of what the client did. What is above the limit is refused with the next
    /// frame.
    pub(crate) fn was_made_to_reset(&mut self, now: impl FnOnce() -> Instant) {
        if let Err(violation) = self.flood.count(Counted::Reset, &self.limits, now) {
            self.refused = Some(violation);
        }
    }

    fn judge(
        &mut self,
        header: FrameHeader,
        is_empty_data: bool,
        now: impl FnOnce() -> Instant,
    ) -> Result<(), Violation> {
        self.said_goodbye |= header.kind == kind::GOAWAY;
        let counted = match header.kind {
            kind::DATA if is_empty_data => Counted::EmptyData,
            kind::HEADERS => return self.headers(header),
            kind::CONTINUATION => return self.continuation(header),
            // h2 ends a connection with the first push that comes from a client.
            kind::DATA | kind::PUSH_PROMISE => return Ok(()),
            kind::RST_STREAM => Counted::Reset,
            kind::SETTINGS => Counted::Settings,
            kind::PING => Counted::Ping,
            kind::WINDOW_UPDATE => Counted::WindowUpdate,
            _ => Counted::Ignored,
        };
        self.flood.count(counted, &self.limits, now)
    }

    fn headers(&mut self, header: FrameHeader) -> Result<(), Violation> {
        match &mut self.heads {
            Some(heads) => {
                if !header.ends_stream() && !heads.take() {
                    return Err(Violation::Unasked);
                }
            }
            None => self.unanswered.came(header.stream, self.limits.unanswered),
        }
        let begun = Block { stream: header.stream, bytes: header.length as usize, continuations: 0 };
        self.end_or_keep(begun, header)
    }

    fn continuation(&mut self, header: FrameHeader) -> Result<(), Violation> {
        // One that continues nothing is an error that h2 names.
        let Some(block) = self.block else { return Ok(()) };
        let block = Block {
            bytes: block.bytes + header.length as usize,
            continuations: block.continuations + 1,
            ..block
        };
        if block.continuations > self.limits.continuations {
            return Err(Violation::Http2Continuations);
        }
        self.end_or_keep(block, header)
    }

    fn end_or_keep(&mut self, block: Block, header: FrameHeader) -> Result<(), Violation> {
        if block.bytes > self.limits.block_bytes {
            return Err(Violation::HeaderBytes);
        }
        self.block = (!header.ends_headers()).then_some(block);
        Ok(())
    }
}
