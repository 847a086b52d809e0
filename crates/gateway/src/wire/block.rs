use memchr::memchr;

use super::Violation;
use super::line::find_control;

/// Where the reader is in lines that are judged together: a head, a chunk's first line, trailers.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Where the line begins that is not complete yet.
    line: usize,
    /// How far the block holds no other end of a line.
    looked: usize,
    /// Whether a control character stands in the line that is not complete yet.
    has_control: bool,
}

/// A line without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) text: &'a [u8],
    /// Whether a control character other than the tab stands in it.
    pub(super) has_control: bool,
}

impl Block {
    /// The next line of the block that `bytes` begin with; `None` while it is incomplete.
    ///
    /// # Errors
    /// A line that does not end in CRLF; the outer error when the block is longer than `bytes_max`.
    pub(super) fn next_line<'a>(
        &mut self,
        bytes: &'a [u8],
        bytes_max: usize,
    ) -> Result<Option<Line<'a>>, LineError> {
        let end = bytes.len().min(bytes_max);
        let Some(feed) = self.find_feed(&bytes[..end]) else {
            return if end == bytes_max { Err(LineError::TooLong) } else { Ok(None) };
        };
        let line = &bytes[self.line..feed];
        let has_control = self.has_control;
        *self = Self { line: feed + 1, looked: feed + 1, has_control: false };
        match line.split_last() {
            Some((b'\r', text)) => Ok(Some(Line { text, has_control })),
            _ => Err(LineError::BareLineFeed),
        }
    }

    /// Where the line feed stands that ends the line. What ends a line is a control character itself, and the
    /// first in a good line: one search finds both.
    fn find_feed(&mut self, bytes: &[u8]) -> Option<usize> {
        if !self.has_control {
            let Some(at) = find_control(&bytes[self.looked..]) else {
                self.looked = bytes.len();
                return None;
            };
            self.looked += at;
            match bytes[self.looked..] {
                [b'\r', b'\n', ..] => return Some(self.looked + 1),
                [b'\r'] => return None,
                [b'\n', ..] => return Some(self.looked),
                _ => self.has_control = true,
            }
        }
        let feed = memchr(b'\n', &bytes[self.looked..]);
        match feed {
            Some(length) => Some(self.looked + length),
            None => {
                self.looked = bytes.len();
                None
            }
        }
    }

    /// Ends the block; its length.
    pub(super) fn end(&mut self) -> usize {
        std::mem::take(self).line
    }
}

/// What is wrong with the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineError {
    TooLong,
    BareLineFeed,
}

impl LineError {
    /// The violation that it is where too many bytes are `too_long`.
    pub(super) fn or(self, too_long: Violation) -> Violation {
        match self {
            Self::TooLong => too_long,
            Self::BareLineFeed => Violation::BareLineFeed,
        }
    }
}
