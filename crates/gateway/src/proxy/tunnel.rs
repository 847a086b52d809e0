//! Two connections that are one: what comes on either goes out on the other, as fast as it is taken.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use intertie_resilience::MonotonicClock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::io::Io;
use super::observed::Observed;
use crate::config::UPGRADE_BUFFER_MAX;
use crate::stats::{UpgradeEnd, Way};

/// What a tunnel reads from and writes to.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Ready when its other side has failed, for those who hear of it otherwise than by reading and writing. A tunnel
    /// does neither where an end was read, or where the other connection takes nothing.
    fn poll_failed(&mut self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// Has its other side see a failure when it is dropped, and no end.
    fn fail(&mut self);
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for Io<S> {
    fn fail(&mut self) {
        self.abort();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for Observed<Io<S>> {
    fn fail(&mut self) {
        self.stream().abort();
    }
}

/// One of the two connections, and what was already read from it.
pub(super) struct End {
    io: Box<dyn Stream>,
    early: Bytes,
}

impl End {
    pub(super) fn new(io: impl Stream + 'static, early: Bytes) -> Self {
        Self { io: Box::new(io), early }
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End").field("early", &self.early.len()).finish_non_exhaustive()
    }
}

/// Carries bytes between `client` and `service` until both have ended, one has failed, or none was taken by
/// either for `idle_max`. Holds at most `buffer` bytes for each way, besides those that were there before,
/// and none while both are fast. `passed` hears of the bytes that were written.
///
/// When one side fails the other one sees a failure too: no end that was not meant passes for one that was (RFC 9113,
/// section 8.5). Dropped, it closes both connections.
pub(super) async fn carry(
    mut client: End,
    mut service: End,
    buffer: usize,
    idle_max: Duration,
    passed: impl Fn(Way, usize),
) -> UpgradeEnd {
    let mut to_service = Direction::new(&mut client.early);
    let mut to_client = Direction::new(&mut service.early);
    let mut timer = pin!(tokio::time::sleep(idle_max));
    let mut last = MonotonicClock::now();
    let how = poll_fn(|context| {
        let sent = to_service.poll(&mut client.io, &mut service.io, buffer, context);
        let got = to_client.poll(&mut service.io, &mut client.io, buffer, context);
        let mut progress = false;
        for (way, direction) in [(Way::ToService, &mut to_service), (Way::ToClient, &mut to_client)] {
            let bytes = std::mem::take(&mut direction.passed);
            if bytes > 0 {
                passed(way, bytes);
                progress = true;
            }
        }
        match (sent, got) {
            (Poll::Ready(Err(Failed::Reader)), _) | (_, Poll::Ready(Err(Failed::Writer))) => {
                return Poll::Ready(UpgradeEnd::ClientLeft);
            }
            (Poll::Ready(Err(Failed::Writer)), _) | (_, Poll::Ready(Err(Failed::Reader))) => {
                return Poll::Ready(UpgradeEnd::ServiceBrokeOff);
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(UpgradeEnd::Closed),
            _ => {}
        }
        if client.io.poll_failed(context).is_ready() {
            return Poll::Ready(UpgradeEnd::ClientLeft);
        }
        if progress {
            last = MonotonicClock::now();
        }
        // Set anew when it fires, not with each byte.
        while timer.as_mut().poll(context).is_ready() {
            let left = idle_max.saturating_sub(MonotonicClock::now().saturating_since(last));
            if left.is_zero() {
                return Poll::Ready(UpgradeEnd::Idle);
            }
            timer.as_mut().reset(tokio::time::Instant::now() + left);
        }
        Poll::Pending
    })
    .await;
    match how {
        UpgradeEnd::ClientLeft => service.io.fail(),
        UpgradeEnd::ServiceBrokeOff => client.io.fail(),
        UpgradeEnd::Closed | UpgradeEnd::Idle => {}
    }
    how
}

/// Whose side of a direction failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    Reader,
    Writer,
}

/// One way through a tunnel.
#[derive(Debug)]
struct Direction {
    /// What was read and not yet taken. No more is read before it is.
    held: Bytes,
    state: State,
    /// Whether something was written since the last flush.
    unflushed: bool,
    /// Bytes written since it was last asked.
    passed: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The reader has said all; that is passed on when the writer has all of it.
    Ending,
    Ended,
}

impl Direction {
    fn new(early: &mut Bytes) -> Self {
        Self { held: std::mem::take(early), state: State::Open, unflushed: false, passed: 0 }
    }

    /// Moves what can be moved; ready when the end was passed on.
    fn poll(
        &mut self,
        from: &mut Box<dyn Stream>,
        to: &mut Box<dyn Stream>,
        buffer: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Failed>> {
        loop {
            while !self.held.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(context, &self.held));
                let written = self.wrote(written)?;
                self.held.advance(written);
            }
            match self.state {
                State::Open => {}
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(context)).map_err(|_| Failed::Writer)?;
                    self.state = State::Ended;
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
            if self.state == State::Open {
                ready!(self.poll_move(from, to, buffer, context))?;
            }
        }
    }

    /// Reads once, and writes at once what is taken of it: only the rest is copied.
    fn poll_move(
        &mut self,
        from: &mut Box<dyn Stream>,
        to: &mut Box<dyn Stream>,
        buffer: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Failed>> {
        let mut space = [MaybeUninit::uninit(); UPGRADE_BUFFER_MAX];
        let mut room = ReadBuf::uninit(&mut space[..buffer]);
        match Pin::new(&mut *from).poll_read(context, &mut room) {
            Poll::Ready(read) => read.map_err(|_| Failed::Reader)?,
            Poll::Pending => {
                if self.unflushed {
                    ready!(Pin::new(&mut *to).poll_flush(context)).map_err(|_| Failed::Writer)?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
        let mut rest = room.filled();
        if rest.is_empty() {
            self.state = State::Ending;
        }
        while !rest.is_empty() {
            let Poll::Ready(written) = Pin::new(&mut *to).poll_write(context, rest) else {
                self.held = Bytes::copy_from_slice(rest);
                return Poll::Pending;
            };
            rest = &rest[self.wrote(written)?..];
        }
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, written: io::Result<usize>) -> Result<usize, Failed> {
        let written = written.ok().filter(|written| *written > 0).ok_or(Failed::Writer)?;
        self.passed += written;
        self.unflushed = true;
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    impl Stream for DuplexStream {
        fn fail(&mut self) {}
    }

    /// A tunnel between two pipes that take `room` bytes; how it ended, and what passed.
    async fn tunnel<R>(
        room: usize,
        early: [&[u8]; 2],
        sides: impl AsyncFnOnce(DuplexStream, DuplexStream) -> R,
    ) -> (UpgradeEnd, [usize; 2], R) {
        let (client, near) = duplex(room);
        let (service, far) = duplex(room);
        let [near, far] = [(near, early[0]), (far, early[1])]
            .map(|(io, early)| End::new(io, Bytes::copy_from_slice(early)));
        let passed = [Cell::new(0), Cell::new(0)];
        let carrying = carry(near, far, 1024, IDLE, |way, bytes| {
            let count = &passed[way as usize];
            count.set(count.get() + bytes);
        });
        let (end, result) = tokio::join!(carrying, sides(client, service));
        (end, passed.map(Cell::into_inner), result)
    }

    /// Says all and ends, and hears all that the other side says.
    async fn talk(stream: DuplexStream, words: &[u8]) -> Vec<u8> {
        let (mut reading, mut writing) = tokio::io::split(stream);
        let mut heard = Vec::new();
        let speaking = async {
            writing.write_all(words).await.expect("taken");
            writing.shutdown().await.expect("ended");
        };
        let (_, read) = tokio::join!(speaking, reading.read_to_end(&mut heard));
        read.expect("an orderly end");
        heard
    }

    proptest! {
        #[test]
        fn every_byte_comes_once_and_in_order(
            to_service in prop::collection::vec(any::<u8>(), 0..20_000),
            to_client in prop::collection::vec(any::<u8>(), 0..20_000),
            early in prop::collection::vec(any::<u8>(), 0..3000),
            room in 1..5000usize,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
            let (end, passed, heard) = runtime.block_on(tunnel(room, [&early, &early], async |client, service| {
                tokio::join!(talk(client, &to_service), talk(service, &to_client))
            }));
            prop_assert_eq!(end, UpgradeEnd::Closed);
            prop_assert_eq!(&heard.0, &[early.as_slice(), &to_client].concat());
            prop_assert_eq!(&heard.1, &[early.as_slice(), &to_service].concat());
            prop_assert_eq!(passed, [heard.1.len(), heard.0.len()]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_nothing_stops_the_other_and_is_idle() {
        let started = tokio::time::Instant::now();
        let (end, passed, sent) = tunnel(100, [&[], &[]], async |mut client, _service| {
            let mut sent = 0;
            while let Ok(written) = client.write(&[7; 50]).await {
                sent += written;
            }
            sent
        })
        .await;
        assert_eq!((end, passed), (UpgradeEnd::Idle, [100, 0]));
        // One pipe, what the tunnel holds, the other pipe.
        assert_eq!(sent, 100 + 100 + 100, "it read once more, as much as a pipe has");
        assert_eq!(started.elapsed(), IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn each_byte_gives_it_the_whole_time_again() {
        let started = tokio::time::Instant::now();
        let (end, ..) = tunnel(100, [&[], &[]], async |mut client, mut service| {
            for _ in 0..3 {
                tokio::time::sleep(IDLE * 3 / 4).await;
                service.write_all(b"x").await.expect("taken");
                client.read_u8().await.expect("a byte");
            }
            let _ = client.read_u8().await;
            service
        })
        .await;
        assert_eq!((end, started.elapsed()), (UpgradeEnd::Idle, IDLE * 9 / 4 + IDLE));
    }
}
