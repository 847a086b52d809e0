//! Whether a service speaks HTTP/2, known before a request is sent to it.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Notify;

use super::inspected::{Inspected, Inspector};

/// Bytes of the head of a frame (RFC 9113, section 4.1).
const FRAME_HEAD: usize = 9;

/// More settings than this no service has: there are fewer than a dozen, of 6 bytes each.
const SETTINGS_BYTES_MAX: u32 = 1 << 14;

/// Whether `head`, as far as it came, can be that of the frame which a server begins with: SETTINGS of no
/// stream, which is no acknowledgement (RFC 9113, sections 3.4 and 6.5).
fn begins_preface(head: &[u8]) -> bool {
    let length = head.iter().take(3).fold(0, |length, byte| length << 8 | u32::from(*byte));
    let (settings, acknowledgement) = (4, 1);
    let length_fits = head.len() < 3 || (length % 6 == 0 && length <= SETTINGS_BYTES_MAX);
    length_fits
        && head.get(3).is_none_or(|kind| *kind == settings)
        && head.get(4).is_none_or(|flags| flags & acknowledgement == 0)
        && head
            .iter()
            .skip(5)
            .enumerate()
            .all(|(place, byte)| if place == 0 { byte & 0x7f == 0 } else { *byte == 0 })
}

/// What is known of a service's first words.
#[derive(Debug, Default)]
pub(super) struct Preface {
    /// Whether they are those of HTTP/2, once they are there.
    spoken: Cell<Option<bool>>,
    told: Notify,
}

impl Preface {
    /// Waits for the first words; whether they are those of HTTP/2.
    pub(super) async fn spoken(&self) -> bool {
        loop {
            if let Some(spoken) = self.spoken.get() {
                return spoken;
            }
            self.told.notified().await;
        }
    }

    fn tell(&self, spoken: bool) {
        self.spoken.set(Some(spoken));
        self.told.notify_one();
    }
}

/// A stream whose first bytes are looked at as they are read.
pub(super) type Prefaced<S> = Inspected<S, FirstWords>;

/// Looks at the first bytes, and tells of them once.
#[derive(Debug)]
pub(super) struct FirstWords {
    preface: Option<Rc<Preface>>,
    head: [u8; FRAME_HEAD],
    read: usize,
}

impl<S> Prefaced<S> {
    pub(super) fn new(stream: S, preface: Rc<Preface>) -> Self {
        Self::by(FirstWords { preface: Some(preface), head: [0; FRAME_HEAD], read: 0 }, stream)
    }
}

impl FirstWords {
    /// Looks at what was read; nothing stands for the end of the stream.
    fn look(&mut self, fresh: &[u8]) {
        let Some(preface) = &self.preface else { return };
        let room = &mut self.head[self.read..];
        let taken = fresh.len().min(room.len());
        room[..taken].copy_from_slice(&fresh[..taken]);
        self.read += taken;
        let good = !fresh.is_empty() && begins_preface(&self.head[..self.read]);
        if !good || self.read == FRAME_HEAD {
            preface.tell(good);
            self.preface = None;
        }
    }
}

impl Drop for FirstWords {
    fn drop(&mut self) {
        if let Some(preface) = self.preface.take() {
            preface.tell(false);
        }
    }
}

impl Inspector for FirstWords {
    fn poll_read<S: AsyncRead>(
        &mut self,
        stream: Pin<&mut S>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(stream.poll_read(context, buffer))?;
        if self.preface.is_some() {
            self.look(&buffer.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn only_settings_begin_a_connection() {
        let good: [[u8; FRAME_HEAD]; 3] =
            [[0, 0, 0, 4, 0, 0, 0, 0, 0], [0, 0, 18, 4, 0, 0, 0, 0, 0], [0, 0, 6, 4, 0, 0x80, 0, 0, 0]];
        for head in good {
            assert!((0..=FRAME_HEAD).all(|length| begins_preface(&head[..length])), "{head:?}");
        }
        for (bad, what) in [
            (*b"HTTP/1.1 ", "HTTP/1.1"),
            ([0, 0, 5, 4, 0, 0, 0, 0, 0], "half a setting"),
            ([1, 0, 2, 4, 0, 0, 0, 0, 0], "too many"),
            ([0, 0, 6, 7, 0, 0, 0, 0, 0], "GOAWAY"),
            ([0, 0, 0, 4, 1, 0, 0, 0, 0], "an acknowledgement"),
            ([0, 0, 0, 4, 0, 0, 0, 0, 1], "a stream"),
            ([0, 0, 0, 4, 0, 1, 0, 0, 0], "a stream far away"),
            ([21, 3, 3, 0, 2, 2, 40, 0, 0], "an alert of TLS"),
        ] {
            assert!(!begins_preface(&bad), "{what}");
        }
    }

    proptest! {
        #[test]
        fn the_first_words_are_found_however_they_come(pieces in proptest::collection::vec(1_usize..5, 0..4), good: bool) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let words: &[u8] = if good { &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1] } else { b"HTTP/1.1 400 " };
                let (mut far, near) = tokio::io::duplex(64);
                let preface = Rc::<Preface>::default();
                let mut prefaced = Prefaced::new(near, Rc::clone(&preface));
                let (mut rest, mut read) = (words, Vec::new());
                for length in pieces.into_iter().chain([usize::MAX]) {
                    let (piece, left) = rest.split_at(length.min(rest.len()));
                    rest = left;
                    far.write_all(piece).await.expect("written");
                    let mut buffer = vec![0; piece.len()];
                    prefaced.read_exact(&mut buffer).await.expect("read");
                    read.extend(buffer);
                }
                assert_eq!(read, words);
                assert_eq!(preface.spoken().await, good);
            });
        }
    }

    #[tokio::test]
    async fn a_service_that_leaves_has_not_spoken() {
        for words in [&b""[..], &[0, 0, 0, 4]] {
            let (mut far, near) = tokio::io::duplex(64);
            let preface = Rc::<Preface>::default();
            let mut prefaced = Prefaced::new(near, Rc::clone(&preface));
            far.write_all(words).await.expect("written");
            drop(far);
            prefaced.read_to_end(&mut Vec::new()).await.expect("read");
            assert!(!preface.spoken().await);
        }
        let preface = Rc::<Preface>::default();
        drop(Prefaced::new(tokio::io::empty(), Rc::clone(&preface)));
        assert!(!preface.spoken().await);
    }
}
