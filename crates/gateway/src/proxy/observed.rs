//! A connection whose bytes are looked at before hyper reads them.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

use super::held::Held;
use super::inspected::{Inspected, Inspector};
use super::switch::Switch;
use crate::wire::{Reader, Violation};

/// What hyper reads in place of a head in doubt, so that it asks for an answer when its turn has come, and
/// closes the connection after it.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n";

/// The most headers that hyper reads unless it is told otherwise; told, it keeps them on the heap.
pub(super) const HEADERS_MAX_OF_HYPER: u32 = 100;

/// A request that is refused without having been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Its number on the connection, from 1; with it the request under way when its body is in doubt.
    pub(super) request: u64,
    pub(super) violation: Violation,
    /// Whether a stand-in asks for the answer.
    pub(super) stands_in: bool,
}

/// What the two ends of an observed connection tell each other.
#[derive(Debug, Default)]
pub(super) struct Observation {
    refusal: Cell<Option<Refusal>>,
    /// A request that goes out, and whether it is a HEAD.
    asked: Cell<Option<bool>>,
    /// Whether the stream ended in the middle of a head.
    broke_off_in_head: Cell<bool>,
    /// Whether the connection waits for its next request and has nothing else to do.
    rests: Cell<bool>,
    /// Whether the end of the connection was said, by either side.
    end_was_said: Cell<bool>,
    /// What becomes of the connection when HTTP ends on it.
    pub(super) switch: Switch,
}

impl Observation {
    /// Notes what is refused, unless something was before.
    pub(super) fn refuse(&self, refusal: Refusal) {
        if self.refusal.get().is_none() {
            self.refusal.set(Some(refusal));
        }
    }

    /// What was refused on the connection, if anything was.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal.get()
    }

    /// Whether the connection ended in the middle of a head.
    pub(super) fn broke_off_in_head(&self) -> bool {
        self.broke_off_in_head.get()
    }

    /// A request is about to be written: what comes next is its answer.
    pub(super) fn ask(&self, is_head: bool) {
        self.asked.set(Some(is_head));
        self.rests.set(false);
    }

    /// Nothing is left to be done until the next request, unless something comes unasked.
    pub(super) fn rest(&self) {
        self.rests.set(true);
    }

    /// One of the sides ends the connection.
    pub(super) fn note_end(&self) {
        self.end_was_said.set(true);
    }

    /// Whether one of the sides has ended the connection.
    pub(super) fn end_was_said(&self) -> bool {
        self.end_was_said.get()
    }

    /// Whether nothing is left to be done.
    pub(super) fn rests(&self) -> bool {
        self.rests.get()
    }
}

/// A stream that lets bytes pass as far as its reader finds them in no doubt.
pub(super) type Observed<S> = Inspected<S, Messages>;

/// Looks at messages of HTTP/1.1.
///
/// A head that comes in one piece is looked at where hyper's read has put it; only the piece of a head that
/// is not complete yet is kept here, so that hyper sees all of a head or nothing.
pub(super) struct Messages {
    reader: Reader,
    observation: Rc<Observation>,
    held: Held,
    /// For requests.
    header_timeout: Option<Duration>,
    /// When the head that is not complete has taken too long.
    overdue: Option<Pin<Box<Sleep>>>,
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").field("reader", &self.reader).finish_non_exhaustive()
    }
}

impl<S> Observed<S> {
    /// A connection on which requests come in, each head within `header_timeout`.
    pub(super) fn requests(
        stream: S,
        reader: Reader,
        header_timeout: Duration,
        observation: Rc<Observation>,
    ) -> Self {
        Self::by(Messages::new(reader, observation, Some(header_timeout)), stream)
    }

    /// A connection on which answers come in; how long they may take is said by the attempt.
    pub(super) fn answers(stream: S, reader: Reader, observation: Rc<Observation>) -> Self {
        Self::by(Messages::new(reader, observation, None), stream)
    }

    /// Whether another protocol is spoken from here on.
    pub(super) fn has_switched(&self) -> bool {
        self.inspector().reader.has_switched()
    }
}

impl Messages {
    fn new(reader: Reader, observation: Rc<Observation>, header_timeout: Option<Duration>) -> Self {
        Self { reader, observation, held: Held::default(), header_timeout, overdue: None }
    }

    /// What was held has been looked at.
    fn looked(&mut self, violation: Option<Violation>) {
        if self.held.has_passed() {
            self.overdue = None;
        }
        if let Some(violation) = violation {
            self.refuse(violation);
        }
    }

    /// The stream has ended: what is held is no whole head.
    fn note_end(&self) {
        self.observation.broke_off_in_head.set(!self.held.is_empty() && self.reader.is_at_head());
    }

    fn refuse(&mut self, violation: Violation) {
        let in_head = self.reader.is_at_head();
        let stands_in = in_head && self.header_timeout.is_some();
        let request = self.reader.heads() + u64::from(in_head);
        self.observation.refusal.set(Some(Refusal { request, violation, stands_in }));
        self.held.replace(if stands_in { STAND_IN } else { b"" });
    }

    /// Waits for the answer to a request that asks for another protocol. What comes behind it is read once, to
    /// notice that its client leaves, and held: it is the next request, or no HTTP at all.
    fn poll_verdict(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let switched = ready!(self.observation.switch.poll_verdict(self.reader.heads(), context));
        self.reader.decide(switched);
        let violation = self.held.look(|held| self.reader.look(held));
        self.looked(violation);
        Poll::Ready(())
    }

    /// Refuses a head that has taken too long. The time begins with the first wait for its next byte.
    fn poll_overdue(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.header_timeout.filter(|_| !self.held.is_empty() && self.reader.is_at_head())
        else {
            self.overdue = None;
            return Poll::Pending;
        };
        let overdue = self.overdue.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(overdue.as_mut().poll(context));
        self.refuse(Violation::HeaderTimeout);
        Poll::Ready(())
    }
}

impl Inspector for Messages {
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
            if let Some(refusal) = self.observation.refusal.get() {
                // A stand-in's answer ends the connection; hyper only looks whether its client is still there.
                return if refusal.stands_in {
                    Poll::Pending
                } else {
                    Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal.violation)))
                };
            }
            if self.reader.is_done() {
                // The answer that refuses the tunnel ends the connection.
                self.held.forget();
                return Poll::Pending;
            }
            if self.reader.awaits_verdict() {
                match self.poll_verdict(context) {
                    Poll::Ready(()) => continue,
                    Poll::Pending if self.held.is_empty() => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
            let before = buffer.filled().len();
            match stream.as_mut().poll_read(context, buffer) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.note_end();
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => {
                    ready!(self.poll_overdue(context));
                    continue;
                }
            }
            if buffer.filled().len() == before {
                self.note_end();
                return Poll::Ready(Ok(()));
            }
            if let Some(is_head) = self.observation.asked.take() {
                self.reader.ask(is_head);
            }
            let violation = self.held.look_at_fresh(buffer, before, |bytes| self.reader.look(bytes));
            self.looked(violation);
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::wire::HeadLimits;

    const LIMITS: HeadLimits = HeadLimits { header_bytes_max: 1000, headers_max: 10, uri_bytes_max: 100 };
    const TIMEOUT: Duration = Duration::from_secs(10);
    const GOOD: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    /// What hyper gets to read of `pieces` that come `pause` apart, and what was refused.
    async fn read(pieces: &[&str], pause: Duration) -> (String, Option<Refusal>) {
        let (mut client, server) = tokio::io::duplex(64);
        let observation = Rc::<Observation>::default();
        let reader = Reader::requests(LIMITS);
        let mut observed = Observed::requests(server, reader, TIMEOUT, Rc::clone(&observation));
        let writing = async {
            for piece in pieces {
                client.write_all(piece.as_bytes()).await.expect("written");
                tokio::time::sleep(pause).await;
            }
            client
        };
        let reading = async {
            let (mut all, mut buffer) = (Vec::new(), [0; 16]);
            // Nothing more comes when it has not come for longer than a head may take.
            while let Ok(Ok(length)) = tokio::time::timeout(TIMEOUT * 2, observed.read(&mut buffer)).await {
                all.extend_from_slice(&buffer[..length]);
            }
            String::from_utf8(all).expect("UTF-8")
        };
        let (_client, all) = tokio::join!(writing, reading);
        (all, observation.refusal())
    }

    fn refusal(request: u64, violation: Violation, stands_in: bool) -> Option<Refusal> {
        Some(Refusal { request, violation, stands_in })
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_in_doubt_is_replaced_and_nothing_behind_it_is_read() {
        let stand_in = std::str::from_utf8(STAND_IN).expect("ASCII");
        let bad = "GET / HTTP/1.1\r\na : b\r\n\r\nGET /";
        let both = format!("{GOOD}{bad}");
        for pieces in [vec![both.as_str()], vec![GOOD, bad], vec![&both[..9], &both[9..30], &both[30..]]] {
            let (all, refused) = read(&pieces, Duration::from_millis(1)).await;
            assert_eq!(all, format!("{GOOD}{stand_in}"), "{pieces:?}");
            assert_eq!(refused, refusal(2, Violation::FieldName, true));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_in_doubt_ends_where_the_doubt_begins() {
        let good = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
        for pieces in [vec![good, "x\r\nabc\r\n0\r\n\r\n"], vec![good, "x", "\r\n"]] {
            let (all, refused) = read(&pieces, Duration::from_millis(1)).await;
            assert_eq!((all.as_str(), refused), (good, refusal(1, Violation::ChunkSize, false)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_head_has_its_own_time() {
        let stand_in = std::str::from_utf8(STAND_IN).expect("ASCII");
        let (all, refused) = read(&[GOOD, &GOOD[..5]], Duration::from_secs(1)).await;
        assert_eq!(all, format!("{GOOD}{stand_in}"));
        assert_eq!(refused, refusal(2, Violation::HeaderTimeout, true));
        let overlapping = format!("{}{}", &GOOD[5..], &GOOD[..5]);
        let pieces = [&GOOD[..5], &overlapping, &overlapping, &GOOD[5..]];
        let (all, refused) = read(&pieces, TIMEOUT.mul_f64(0.8)).await;
        assert_eq!((all, refused), (GOOD.repeat(3), None));
    }

    /// What is read behind a request for another protocol, once that is answered.
    async fn behind(words: &str, switched: bool) -> (String, Option<Refusal>) {
        let ask = "GET / HTTP/1.1\r\nupgrade: chat\r\n\r\n";
        let (mut client, server) = tokio::io::duplex(1024);
        let observation = Rc::<Observation>::default();
        let reader = Reader::requests(LIMITS);
        let mut observed = Observed::requests(server, reader, TIMEOUT, Rc::clone(&observation));
        client.write_all(ask.as_bytes()).await.expect("written");
        let (before, after) = words.split_at(words.len() / 2);
        client.write_all(before.as_bytes()).await.expect("written");
        let mut asked = vec![0; ask.len()];
        observed.read_exact(&mut asked).await.expect("the request");
        let mut buffer = [0; 64];
        // Longer than a head may take, and the answer to another request: neither is the verdict.
        observation.switch.answer(0, true);
        let early = tokio::time::timeout(TIMEOUT * 3, observed.read(&mut buffer)).await;
        assert!(early.is_err(), "{early:?}");
        let reading = async {
            let mut all = Vec::new();
            while let Ok(Ok(length @ 1..)) =
                tokio::time::timeout(TIMEOUT / 2, observed.read(&mut buffer)).await
            {
                all.extend_from_slice(&buffer[..length]);
            }
            String::from_utf8(all).expect("UTF-8")
        };
        let answering = async {
            tokio::task::yield_now().await;
            observation.switch.answer(1, switched);
            client.write_all(after.as_bytes()).await.expect("written");
            client
        };
        let (all, _client) = tokio::join!(reading, answering);
        (all, observation.refusal())
    }

    #[tokio::test(start_paused = true)]
    async fn what_follows_a_request_for_another_protocol_is_held_until_its_answer() {
        let stand_in = std::str::from_utf8(STAND_IN).expect("ASCII");
        assert_eq!(behind("any\nbytes\0", true).await, ("any\nbytes\0".to_owned(), None));
        assert_eq!(behind(GOOD, false).await, (GOOD.to_owned(), None));
        let bad = "GET / HTTP/1.1\r\na : b\r\n\r\n";
        assert_eq!(behind(bad, false).await, (stand_in.to_owned(), refusal(2, Violation::FieldName, true)));
    }
}
