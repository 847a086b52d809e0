//! An HTTP/2 connection whose frames are counted before h2 reads them, and after it has written them.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use intertie_resilience::MonotonicClock;
use tokio::io::{AsyncRead, ReadBuf};

use super::held::Held;
use super::inspected::{Inspected, Inspector};
use super::observed::{Observation, Refusal};
use crate::wire::{FrameReader, FrameWriter, Violation, Written};

/// More CONTINUATION frames than h2 takes, whatever it is told of header lists.
const CONTINUATIONS: usize = 64;

/// What h2 reads in place of a flood: a header block that never ends. It then says what is to be said, in
/// frames that fit behind those that it has written: GOAWAY with `ENHANCE_YOUR_CALM`. No payload, so that
/// nothing has to be kept of it.
fn stand_in(open_block: Option<u32>) -> Vec<u8> {
    let frame = |kind: u8, stream: u32| {
        let [a, b, c, d] = stream.to_be_bytes();
        [0, 0, 0, kind, 0, a, b, c, d]
    };
    let (headers, stream) = match open_block {
        Some(stream) => (None, stream),
        None => (Some(frame(1, 1)), 1),
    };
    let continuations = std::iter::repeat_n(frame(9, stream), CONTINUATIONS);
    headers.into_iter().chain(continuations).flatten().collect()
}

/// A stream that lets frames pass until there are too many of them.
pub(super) type ObservedFrames<S> = Inspected<S, Frames>;

/// Looks at frames of HTTP/2.
///
/// Frames are looked at where h2's read has put them; only the header of a frame that is cut off is kept
/// here, and of a reset all of it, so that h2 sees what was looked at or nothing.
pub(super) struct Frames {
    reader: FrameReader,
    writer: FrameWriter,
    observation: Rc<Observation>,
    held: Held,
    stood_in: bool,
    /// Tells of a request that h2 has refused itself; a client's alone. With a service the connection ends at
    /// once.
    tell: Option<Tell>,
}

type Tell = Box<dyn Fn(Violation)>;

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").field("reader", &self.reader).finish_non_exhaustive()
    }
}

impl<S> ObservedFrames<S> {
    /// A connection of a client.
    pub(super) fn of_client(
        stream: S,
        reader: FrameReader,
        observation: Rc<Observation>,
        tell: Box<dyn Fn(Violation)>,
    ) -> Self {
        Self::by(Frames::new(reader, FrameWriter::default(), observation, Some(tell)), stream)
    }

    /// A connection to a service.
    pub(super) fn of_service(stream: S, reader: FrameReader, observation: Rc<Observation>) -> Self {
        Self::by(Frames::new(reader, FrameWriter::to_service(), observation, None), stream)
    }
}

impl Frames {
    fn new(
        reader: FrameReader,
        writer: FrameWriter,
        observation: Rc<Observation>,
        tell: Option<Tell>,
    ) -> Self {
        Self { reader, writer, observation, held: Held::default(), stood_in: false, tell }
    }

    fn is_service(&self) -> bool {
        self.tell.is_none()
    }

    fn refuse(&mut self, violation: Violation) {
        // No request has this number: none is answered for the connection.
        self.observation.refuse(Refusal { request: 0, violation, stands_in: !self.is_service() });
        self.stood_in = !self.is_service();
        if self.stood_in {
            self.held.replace(&stand_in(self.reader.open_block()));
        } else {
            self.held.replace(b"");
        }
    }
}

impl Inspector for Frames {
    fn poll_read<S: AsyncRead>(
        &mut self,
        mut stream: Pin<&mut S>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.held.has_passed() {
                self.held.hand_over(buffer);
                return Poll::Ready(Ok(()));
            }
            if self.stood_in {
                // What h2 was told makes it end the connection; until that is written it reads no more.
                return Poll::Pending;
            }
            if self.is_service()
                && let Some(refusal) = self.observation.refusal()
            {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal.violation)));
            }
            let before = buffer.filled().len();
            ready!(stream.as_mut().poll_read(context, buffer))?;
            if buffer.filled().len() == before {
                self.observation.note_end();
                return Poll::Ready(Ok(()));
            }
            let look = |bytes: &mut [u8]| self.reader.look(bytes, MonotonicClock::now);
            if let Some(violation) = self.held.look_at_fresh(buffer, before, look) {
                self.refuse(violation);
            }
            if self.reader.has_said_goodbye() {
                self.observation.note_end();
            }
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn wrote(&mut self, slices: &[IoSlice<'_>], mut length: usize) {
        for slice in slices {
            let sent = &slice[..slice.len().min(length)];
            length -= sent.len();
            let Self { reader, writer, observation, tell, .. } = self;
            writer.look(sent, |written| match tell {
                None => sent_to_service(reader, written),
                Some(tell) => sent_to_client(reader, written, tell, observation),
            });
        }
    }
}

fn sent_to_service(reader: &mut FrameReader, written: Written) {
    match written {
        Written::Data(bytes) => reader.data_was_sent(bytes),
        Written::Head { .. } => reader.head_was_sent(),
        Written::Reset { .. } => reader.reset_was_sent(),
        // What h2 ends itself, it tells the exchanges itself; heads for streams that have ended are not the way
        // to earn more of them.
        Written::MadeReset { .. } | Written::Refused { .. } | Written::Goodbye => {}
    }
}

fn sent_to_client(reader: &mut FrameReader, written: Written, tell: &Tell, observation: &Observation) {
    match written {
        Written::Data(bytes) => reader.data_was_sent(bytes),
        Written::Head { stream, only_a_status } => {
            if reader.answer_was_sent(stream, only_a_status) {
                tell(Violation::HeaderBytes);
            }
        }
        Written::Reset { stream } => reader.stream_has_ended(stream),
        Written::MadeReset { stream } => {
            reader.stream_has_ended(stream);
            reader.was_made_to_reset(MonotonicClock::now);
        }
        Written::Refused { stream } => {
            reader.stream_has_ended(stream);
            reader.was_made_to_reset(MonotonicClock::now);
            tell(Violation::Http2Streams);
        }
        Written::Goodbye => {
            let violation = Violation::Http2Error;
            observation.refuse(Refusal { request: 0, violation, stands_in: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::config::ClientLimitsConfig;
    use crate::wire::FloodLimits;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const HEADERS: &[u8] = &[0, 0, 3, 1, 0, 0, 0, 0, 5, 0x82, 0x86, 0x84];
    const CONTINUATION: &[u8] = &[0, 0, 0, 9, 0, 0, 0, 0, 5];

    fn observed() -> (DuplexStream, ObservedFrames<DuplexStream>, Rc<Observation>) {
        let (client, server) = tokio::io::duplex(1 << 16);
        let limits: ClientLimitsConfig =
            toml::from_str("http2 = { pings_max = 2, resets_max = 2, continuations_max = 2 }")
                .expect("limits");
        let observation = Rc::<Observation>::default();
        let reader = FrameReader::new(FloodLimits::from(&limits), MonotonicClock::now());
        (
            client,
            ObservedFrames::of_client(server, reader, Rc::clone(&observation), Box::new(drop)),
            observation,
        )
    }

    /// What h2 gets to read of `bytes` that come in pieces of `piece` bytes, `room` bytes at a time.
    async fn read(bytes: &[u8], piece: usize, room: usize) -> (Vec<u8>, Option<Violation>) {
        let (mut client, mut observed, observation) = observed();
        let mut all = Vec::new();
        for piece in bytes.chunks(piece) {
            client.write_all(piece).await.expect("room");
            let mut buffer = vec![0; room];
            while let Some(read) = tokio::select! {
                biased;
                read = observed.read(&mut buffer) => Some(read),
                () = std::future::ready(()) => None,
            } {
                all.extend_from_slice(&buffer[..read.expect("read")]);
            }
        }
        (all, observation.refusal().map(|refusal| refusal.violation))
    }

    #[tokio::test]
    async fn frames_pass_as_they_came_until_one_is_too_many() {
        let good = [PREFACE, PING, HEADERS, CONTINUATION].concat();
        let good = good.as_slice();
        for (flood, violation, open_block) in [
            ([CONTINUATION, CONTINUATION, CONTINUATION].concat(), Violation::Http2Continuations, Some(5)),
            ([PING, PING, PING].concat(), Violation::Http2Pings, Some(5)),
        ] {
            let bytes = [good, &flood].concat();
            let passed = match violation {
                Violation::Http2Pings => good.len() + PING.len(),
                _ => good.len() + CONTINUATION.len(),
            };
            let expected = [&bytes[..passed], &stand_in(open_block)].concat();
            for piece in [1, 2, 7, 10, 30, 1000] {
                for room in [1, 5, 17, 1000] {
                    let (all, refused) = read(&bytes, piece, room).await;
                    assert_eq!(refused, Some(violation), "{piece} {room}");
                    assert_eq!(all, expected, "{piece} {room}");
                }
            }
            let (all, refused) = read(good, 4, 3).await;
            assert_eq!((all.as_slice(), refused), (good, None));
        }
    }

    #[test]
    fn headers_that_were_begun_are_what_never_ends() {
        assert_eq!(stand_in(Some(5)), CONTINUATION.repeat(CONTINUATIONS));
        let alone = stand_in(None);
        assert_eq!(alone[..9], [0, 0, 0, 1, 0, 0, 0, 0, 1]);
        assert_eq!(alone.len(), stand_in(Some(1)).len() + 9);
    }

    #[tokio::test]
    async fn what_is_written_in_parts_is_seen_whole() {
        let (mut client, mut observed, observation) = observed();
        // Streams that end for PROTOCOL_ERROR.
        let reset = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 1];
        client.write_all(PREFACE).await.expect("room");
        for _ in 0..3 {
            observed.write_all(&reset[..5]).await.expect("room");
            let slices = [IoSlice::new(&reset[5..10]), IoSlice::new(&reset[10..])];
            assert_eq!(observed.write_vectored(&slices).await.expect("room"), 8);
        }
        client.write_all(PING).await.expect("room");
        let mut buffer = vec![0; 1000];
        let mut all = Vec::new();
        while all.len() < PREFACE.len() + stand_in(None).len() {
            let read = tokio::time::timeout(Duration::from_secs(10), observed.read(&mut buffer)).await;
            let length = read.expect("more to read").expect("read");
            all.extend_from_slice(&buffer[..length]);
        }
        assert_eq!(all, [PREFACE, &stand_in(None)].concat());
        let refused = observation.refusal().map(|refusal| refusal.violation);
        assert_eq!(refused, Some(Violation::Http2Resets));
    }
}
