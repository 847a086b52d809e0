use super::block::{Block, Line};
use super::chunk::{CHUNK_LINE_BYTES_MAX, chunk_size};
use super::head::{Follows, Head};
use super::line::check_text;
use super::{HeadLimits, INTERIM_MAX, Violation};

/// Follows one direction of a connection through its heads and bodies.
#[derive(Debug)]
pub(crate) struct Reader {
    limits: HeadLimits,
    is_answers: bool,
    state: State,
    block: Block,
    head: Head,
    /// Whether an empty line stood before the head that comes.
    empty_line: bool,
    /// Complete heads.
    heads: u64,
    /// For answers: the request that the next one is to, and whether it was a HEAD.
    asked: Option<bool>,
    /// Answers that came before the final one.
    interim: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Body {
        left: u64,
    },
    ChunkLine,
    Chunk {
        left: u64,
    },
    ChunkEnd,
    Trailers,
    UntilClose,
    /// A request asks for another protocol, or a tunnel: who reads what follows it is said by its answer.
    Verdict {
        to_tunnel: bool,
    },
    /// Another protocol, which is not read.
    OtherProtocol,
    /// What was meant for a tunnel that is not there, and is nobody's to read (RFC 9931).
    Unread,
    Refused {
        violation: Violation,
        in_head: bool,
    },
}

/// What became of bytes that were shown to a [`Reader`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How many of them are in no doubt. The others are shown again, with more behind them.
    pub(crate) passed: usize,
    /// What is wrong with those that follow.
    pub(crate) violation: Option<Violation>,
}

impl Reader {
    /// A reader of what a client sends.
    pub(crate) fn requests(limits: HeadLimits) -> Self {
        Self::new(limits, false)
    }

    /// A reader of what a service sends.
    pub(crate) fn answers(limits: HeadLimits) -> Self {
        Self::new(limits, true)
    }

    fn new(limits: HeadLimits, is_answers: bool) -> Self {
        Self {
            limits,
            is_answers,
            state: State::Head,
            block: Block::default(),
            head: Head::default(),
            empty_line: false,
            heads: 0,
            asked: None,
            interim: 0,
        }
    }

    /// Complete heads so far.
    pub(crate) fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether what comes next, or was refused, is a head and not a body.
    pub(crate) fn is_at_head(&self) -> bool {
        matches!(self.state, State::Head | State::Refused { in_head: true, .. })
    }

    /// For requests: whether no more may pass before the last one is answered.
    pub(crate) fn awaits_verdict(&self) -> bool {
        matches!(self.state, State::Verdict { .. })
    }

    /// For requests: the last one is answered, by another protocol or not.
    pub(crate) fn decide(&mut self, switched: bool) {
        debug_assert!(self.awaits_verdict(), "nobody asked");
        self.state = match self.state {
            _ if switched => State::OtherProtocol,
            State::Verdict { to_tunnel: true } => State::Unread,
            _ => State::Head,
        };
    }

    /// Whether nothing of what comes is read any more.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Unread
    }

    /// Whether another protocol is spoken from here on.
    pub(crate) fn has_switched(&self) -> bool {
        self.state == State::OtherProtocol
    }

    /// For answers: a request went out, a HEAD or another.
    pub(crate) fn ask(&mut self, is_head: bool) {
        self.asked = Some(is_head);
    }

    /// Looks at `bytes`: those that did not pass last time, and what came behind them.
    pub(crate) fn look(&mut self, bytes: &[u8]) -> Seen {
        let mut passed = 0;
        loop {
            match self.step(&bytes[passed..]) {
                Ok(0) => return Seen { passed, violation: None },
                Ok(more) => passed += more,
                Err(violation) => {
                    self.state = State::Refused { violation, in_head: self.state == State::Head };
                    return Seen { passed, violation: Some(violation) };
                }
            }
        }
    }

    /// How many bytes pass next; none when it takes more bytes to tell.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        if bytes.is_empty() {
            return Ok(0);
        }
        match self.state {
            State::Head => self.head(bytes),
            State::Body { left } => {
                let (passed, left) = run(bytes, left);
                self.state = if left == 0 { State::Head } else { State::Body { left } };
                Ok(passed)
            }
            State::ChunkLine => {
                let line = self.block.next_line(bytes, CHUNK_LINE_BYTES_MAX);
                let Some(line) = line.map_err(|error| error.or(Violation::ChunkSize))? else { return Ok(0) };
                let left = chunk_size(line.text)?;
                self.state = if left == 0 { State::Trailers } else { State::Chunk { left } };
                Ok(self.block.end())
            }
            State::Chunk { left } => {
                let (passed, left) = run(bytes, left);
                self.state = if left == 0 { State::ChunkEnd } else { State::Chunk { left } };
                Ok(passed)
            }
            State::ChunkEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.state = State::ChunkLine;
                    Ok(2)
                }
                [b'\r'] => Ok(0),
                _ => Err(Violation::ChunkEnd),
            },
            State::Trailers => self.trailers(bytes),
            State::UntilClose | State::OtherProtocol => Ok(bytes.len()),
            State::Verdict { .. } | State::Unread => Ok(0),
            State::Refused { violation, .. } => Err(violation),
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        if self.is_answers && self.asked.is_none() {
            return Err(Violation::Unasked);
        }
        loop {
            let line = self.block.next_line(bytes, self.limits.header_bytes_max).map_err(|error| {
                let in_target = !self.is_answers && !self.head.has_begun();
                error.or(if in_target { Violation::UriBytes } else { Violation::HeaderBytes })
            })?;
            match line {
                None => return Ok(0),
                // Old clients end a body so (RFC 9112, section 2.2).
                Some(Line { text: [], .. })
                    if !self.head.has_begun() && !self.is_answers && !self.empty_line =>
                {
                    self.empty_line = true;
                }
                Some(Line { text: [], .. }) if self.head.has_begun() => break,
                Some(line) => self.head.take(checked(line)?, self.is_answers, &self.limits)?,
            }
        }
        self.empty_line = false;
        let follows = std::mem::take(&mut self.head).end(self.asked == Some(true))?;
        if follows == Follows::FinalAnswer {
            self.interim += 1;
            if self.interim > INTERIM_MAX {
                return Err(Violation::Unasked);
            }
        } else {
            (self.asked, self.interim) = (None, 0);
        }
        self.state = match follows {
            Follows::Nothing | Follows::FinalAnswer => State::Head,
            Follows::Length(left) => State::Body { left },
            Follows::Chunks => State::ChunkLine,
            Follows::UntilClose => State::UntilClose,
            Follows::Verdict { to_tunnel } => State::Verdict { to_tunnel },
            Follows::OtherProtocol => State::OtherProtocol,
        };
        self.heads += 1;
        Ok(self.block.end())
    }

    fn trailers(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        loop {
            let line = self.block.next_line(bytes, self.limits.header_bytes_max);
            match line.map_err(|error| error.or(Violation::HeaderBytes))? {
                None => return Ok(0),
                Some(Line { text: [], .. }) => break,
                Some(line) => self.head.take_trailer(checked(line)?, &self.limits)?,
            }
        }
        self.head = Head::default();
        self.state = State::Head;
        Ok(self.block.end())
    }
}

/// The text of a line, in which no control character stands.
fn checked(line: Line<'_>) -> Result<&[u8], Violation> {
    if line.has_control {
        check_text(line.text)?;
    }
    Ok(line.text)
}

/// How many of `bytes` belong to a run of which `left` are still to come, and how many then are.
fn run(bytes: &[u8], left: u64) -> (usize, u64) {
    let passed = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (passed, left - passed as u64)
}
