//! A socket as all readers of a connection share it.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use intertie_core::clock::Instant;
use intertie_resilience::MonotonicClock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::readable::Readable;

/// What an HTTP/2 client says first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Slices that together are no longer than this are copied into one: that costs less than what the kernel
/// does to gather them.
const GATHERED_MAX: usize = 2048;

/// A socket, and what was already read from it to find out which protocol its client speaks.
#[derive(Debug)]
pub(super) struct Io<S> {
    stream: S,
    prefix: [u8; PREFACE.len()],
    unread: std::ops::Range<u8>,
    stall: Rc<Stall>,
    readable: Rc<Readable>,
    /// Has the socket reset its connection when it is closed.
    abort: fn(&S),
}

/// What is known of a socket that takes no more.
#[derive(Debug, Default)]
pub(super) struct Stall {
    /// Since when it takes nothing of what is to be written.
    since: Cell<Option<Instant>>,
    abort: Cell<bool>,
}

impl Stall {
    /// Since when something is left to be written of which the socket takes nothing.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since.get()
    }

    /// Has the connection reset when its socket is closed.
    pub(super) fn abort(&self) {
        self.abort.set(true);
    }
}

impl<S> Drop for Io<S> {
    fn drop(&mut self) {
        if self.stall.abort.get() {
            (self.abort)(&self.stream);
        }
    }
}

/// The protocols that clients and services speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            prefix: [0; PREFACE.len()],
            unread: 0..0,
            stall: Rc::default(),
            readable: Rc::default(),
            abort: |_| {},
        }
    }

    /// A socket that `abort` has reset its connection when it is closed, if that is asked for.
    pub(super) fn abortable(stream: S, abort: fn(&S)) -> Self {
        let mut io = Self::new(stream);
        io.abort = abort;
        io
    }

    /// Tells whether something is left to be written for which the socket has no room.
    pub(super) fn stall(&self) -> Rc<Stall> {
        Rc::clone(&self.stall)
    }

    /// Has the connection reset when it is closed.
    pub(super) fn abort(&self) {
        self.stall.abort();
    }

    /// Tells whether something may be there to read.
    pub(super) fn readable(&self) -> Rc<Readable> {
        Rc::clone(&self.readable)
    }

    fn note<T>(&self, written: Poll<T>) -> Poll<T> {
        match (written.is_pending(), self.stall.since.get()) {
            (true, None) => self.stall.since.set(Some(MonotonicClock::now())),
            (true, Some(_)) => {}
            (false, _) => self.stall.since.set(None),
        }
        written
    }
}

impl Io<Box<TlsStream<TcpStream>>> {
    /// A connection to a service that speaks TLS.
    pub(super) fn secured(stream: Box<TlsStream<TcpStream>>) -> Self {
        Self::abortable(stream, |stream| reset(stream.get_ref().0))
    }
}

impl Io<TcpStream> {
    /// A connection that can be reset.
    pub(super) fn plain(stream: TcpStream) -> Self {
        Self::abortable(stream, reset)
    }

    /// Waits for the client's first bytes and tells the protocol by them. `None` when the client left
    /// without a word.
    pub(super) async fn accept(stream: TcpStream) -> io::Result<Option<(Self, Protocol)>> {
        let mut io = Self::plain(stream);
        let mut read = 0;
        while read < PREFACE.len() && PREFACE.starts_with(&io.prefix[..read]) {
            match io.stream.read(&mut io.prefix[read..]).await? {
                0 if read == 0 => return Ok(None),
                0 => break,
                more => read += more,
            }
        }
        io.unread = 0..read as u8;
        let protocol = if io.prefix == *PREFACE { Protocol::Http2 } else { Protocol::Http1 };
        Ok(Some((io, protocol)))
    }
}

/// Without it what is left to be written would stay with the kernel for as long as the client likes.
pub(super) fn reset(stream: &TcpStream) {
    // A socket that is closed already needs no more.
    let _ = stream.set_zero_linger();
}

impl<S: AsyncRead + Unpin> AsyncRead for Io<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        if io.unread.is_empty() {
            return io.readable.poll(context, |context| Pin::new(&mut io.stream).poll_read(context, buffer));
        }
        let unread = &io.prefix[usize::from(io.unread.start)..usize::from(io.unread.end)];
        let taken = unread.len().min(buffer.remaining());
        buffer.put_slice(&unread[..taken]);
        io.unread.start += taken as u8;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Io<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let io = self.get_mut();
        let written = Pin::new(&mut io.stream).poll_write(context, bytes);
        io.note(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let io = self.get_mut();
        let mut stream = Pin::new(&mut io.stream);
        let written = match slices {
            [one] => stream.poll_write(context, one),
            _ if length(slices) > GATHERED_MAX => stream.poll_write_vectored(context, slices),
            _ => GATHERED.with_borrow_mut(|gathered| {
                gathered.clear();
                slices.iter().for_each(|slice| gathered.extend_from_slice(slice));
                stream.as_mut().poll_write(context, gathered)
            }),
        };
        io.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What TLS has encrypted but could not yet send waits here; a bare socket has nothing to flush.
        let io = self.get_mut();
        let flushed = Pin::new(&mut io.stream).poll_flush(context);
        io.note(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

fn length(slices: &[IoSlice<'_>]) -> usize {
    slices.iter().map(|slice| slice.len()).sum()
}

thread_local! {
    /// Where short slices are put one behind the other; it belongs to nobody for longer than a write.
    static GATHERED: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(GATHERED_MAX));
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.expect("connects"), server.expect("accepts").0)
    }

    /// Accepts a client that says `words`, each in a segment of its own, and reads all of it.
    async fn said(words: &[&[u8]]) -> Option<(Protocol, Vec<u8>)> {
        let (mut client, server) = pair().await;
        client.set_nodelay(true).expect("a TCP socket");
        let speaking = async {
            for word in words {
                client.write_all(word).await.expect("written");
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            drop(client);
        };
        let hearing = async {
            let (mut io, protocol) = Io::accept(server).await.expect("no error")?;
            let mut all = Vec::new();
            loop {
                // A small buffer, so that the prefix is read in parts too.
                let mut bytes = [0; 10];
                match io.read(&mut bytes).await.expect("read") {
                    0 => return Some((protocol, all)),
                    length => all.extend_from_slice(&bytes[..length]),
                }
            }
        };
        tokio::join!(speaking, hearing).1
    }

    #[tokio::test]
    async fn the_preface_tells_the_protocol_and_nothing_is_lost() {
        let whole: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nframes";
        let cases: [(&[&[u8]], Protocol); 7] = [
            (&[whole], Protocol::Http2),
            (&[&whole[..1], &whole[1..20], &whole[20..]], Protocol::Http2),
            (&[b"GET / HTTP/1.1\r\n\r\n"], Protocol::Http1),
            (&[b"P", b"OST / HTTP/1.1\r\n\r\n"], Protocol::Http1),
            (&[b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"], Protocol::Http1),
            (&[b"PRI * HTTP/2.0"], Protocol::Http1),
            (&[b"G"], Protocol::Http1),
        ];
        for (words, protocol) in cases {
            assert_eq!(said(words).await, Some((protocol, words.concat())), "{words:?}");
        }
        assert_eq!(said(&[]).await, None);
    }

    #[tokio::test]
    async fn long_and_short_writes_arrive_in_order() {
        let (mut client, server) = pair().await;
        let mut io = Io::new(server);
        let long = vec![b'l'; GATHERED_MAX];
        let writes: [&[&[u8]]; 4] = [&[b"one"], &[b"two", b"three"], &[b"head", &long], &[&long, b""]];
        let mut expected = Vec::new();
        for slices in writes {
            let slices: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
            let length: usize = slices.iter().map(|slice| slice.len()).sum();
            let written =
                std::future::poll_fn(|context| Pin::new(&mut io).poll_write_vectored(context, &slices)).await;
            assert_eq!(written.expect("written"), length);
            expected.extend(slices.iter().flat_map(|slice| slice.iter().copied()));
        }
        drop(io);
        let mut arrived = Vec::new();
        client.read_to_end(&mut arrived).await.expect("read");
        assert_eq!(arrived, expected);
    }
}
