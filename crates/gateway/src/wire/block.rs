use memchr::memchr;

use super::Violation;

/// Where the reader is in lines that are judged together: a head, a chunk's first line, trailers.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Where the line begins that is not complete yet.
    line: usize,
    /// How far the block holds no other end of a line.
    looked: usize,
}

impl Block {
    /// The next line of the block that `bytes` begin with, without its end; `None` while it is incomplete.
    ///
    /// # Errors
    /// A line that does not end in CRLF; the outer error when the block is longer than `bytes_max`.
    pub(super) fn next_line<'a>(
        &mut self,
        bytes: &'a [u8],
        bytes_max: usize,
    ) -> Result<Option<&'a [u8]>, LineError> {
        let end = bytes.len().min(bytes_max);
        let Some(length) = memchr(b'\n', &bytes[self.looked..end]) else {
            self.looked = end;
            return if end == bytes_max { Err(LineError::TooLong) } else { Ok(None) };
        };
        let feed = self.looked + length;
        let line = &bytes[self.line..feed];
        (self.line, self.looked) = (feed + 1, feed + 1);
        match line.split_last() {
            Some((b'\r', line)) => Ok(Some(line)),
            _ => Err(LineError::BareLineFeed),
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
