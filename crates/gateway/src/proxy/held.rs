//! What was read of a stream and must not be handed over yet, since more of it has to be seen first.

use tokio::io::ReadBuf;

use crate::wire::{Seen, Violation};

/// Bytes that wait for those behind them, and how many of them do no longer.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    passed: usize,
}

impl Held {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether some of it may be handed over.
    pub(super) fn has_passed(&self) -> bool {
        self.passed > 0
    }

    /// Hands over what may be, as far as there is room.
    pub(super) fn hand_over(&mut self, buffer: &mut ReadBuf<'_>) {
        let length = self.passed.min(buffer.remaining());
        buffer.put_slice(&self.bytes[..length]);
        self.bytes.drain(..length);
        self.passed -= length;
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }

    /// Has all of it looked at, and lets pass what may; what is wrong with the rest, if anything is.
    pub(super) fn look(&mut self, look: impl FnOnce(&mut [u8]) -> Seen) -> Option<Violation> {
        let seen = look(&mut self.bytes);
        self.passed = seen.passed;
        seen.violation
    }

    /// Has looked at what was read into `buffer` behind its first `before` bytes, together with what is held. Of
    /// that, `buffer` keeps what may be handed over at once; it is nothing as long as something else is held.
    pub(super) fn look_at_fresh(
        &mut self,
        buffer: &mut ReadBuf<'_>,
        before: usize,
        look: impl FnOnce(&mut [u8]) -> Seen,
    ) -> Option<Violation> {
        let fresh = &mut buffer.filled_mut()[before..];
        if !self.is_empty() {
            self.bytes.extend_from_slice(fresh);
            buffer.set_filled(before);
            return self.look(look);
        }
        let seen = look(fresh);
        if seen.violation.is_none() && seen.passed < fresh.len() {
            self.bytes.extend_from_slice(&fresh[seen.passed..]);
        }
        buffer.set_filled(before + seen.passed);
        seen.violation
    }

    /// Forgets all of it.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Forgets what may not pass, and lets `stand_in` pass in its place.
    pub(super) fn replace(&mut self, stand_in: &[u8]) {
        self.bytes.truncate(self.passed);
        self.bytes.extend_from_slice(stand_in);
        self.passed = self.bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lets words pass that are whole, up to one with `!` in it.
    fn look(bytes: &mut [u8]) -> Seen {
        let words = bytes.split_inclusive(|byte| *byte == b' ').filter(|word| word.ends_with(b" "));
        let good = words.take_while(|word| !word.contains(&b'!'));
        let passed = good.map(<[u8]>::len).sum();
        let violation = bytes[passed..].contains(&b'!').then_some(Violation::RequestLine);
        Seen { passed, violation }
    }

    /// What is handed over of `pieces`, with room for `room` bytes each time.
    fn handed_over(pieces: &[&[u8]], room: usize) -> Vec<u8> {
        let (mut held, mut all) = (Held::default(), Vec::new());
        let mut storage = vec![0; 64];
        for piece in pieces {
            let mut buffer = ReadBuf::new(&mut storage);
            // What stands there from before is nobody's to touch.
            buffer.put_slice(b"before");
            buffer.put_slice(piece);
            let violation = held.look_at_fresh(&mut buffer, 6, look);
            assert!(buffer.filled().starts_with(b"before"));
            all.extend_from_slice(&buffer.filled()[6..]);
            if violation.is_some() {
                held.replace(b"STAND-IN");
            }
            while held.has_passed() {
                let mut buffer = ReadBuf::new(&mut storage[..room]);
                held.hand_over(&mut buffer);
                all.extend_from_slice(buffer.filled());
            }
            if violation.is_some() {
                assert!(held.is_empty());
                break;
            }
        }
        all
    }

    proptest! {
        /// Against looking at all at once.
        #[test]
        fn however_it_comes_what_is_whole_passes_and_what_is_wrong_is_replaced(
            text in "[ab ]{0,30}(!?[ab ]{1,8})?",
            cuts in prop::collection::vec(1_usize..6, 30),
            room in 1_usize..20,
        ) {
            let seen = look(&mut text.clone().into_bytes());
            let mut expected = text.as_bytes()[..seen.passed].to_vec();
            if seen.violation.is_some() {
                expected.extend_from_slice(b"STAND-IN");
            }
            let (mut pieces, mut rest) = (Vec::new(), text.as_bytes());
            for cut in cuts {
                let (piece, left) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = left;
            }
            pieces.extend(rest.chunks(50));
            prop_assert_eq!(handed_over(&pieces, room), expected);
        }
    }
}
