//! A stream of HTTP/2 that carries something else, from its client's side.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::UnderWay;

/// What a client and a tunnel say to each other in the DATA of a stream. Dropped before both have ended, it has
/// the stream reset: an end that comes too early must not pass for one that was meant.
pub(super) struct ClientStream {
    io: TokioIo<Upgraded>,
    /// Its place among the streams of the connection, which has a request under way until the tunnel ends.
    under_way: UnderWay,
    /// Whether hyper said that the client has ended.
    end_seen: bool,
    /// Whether our own end was said.
    is_shut: bool,
}

impl ClientStream {
    pub(super) fn new(upgraded: Upgraded, under_way: UnderWay) -> Self {
        Self { io: TokioIo::new(upgraded), under_way, end_seen: false, is_shut: false }
    }
}

impl AsyncRead for ClientStream {
    /// To hyper a stream that its client cancels ends like any other, but the task that sends on it ends as well.
    /// What both hear of at the same time is left to that task first.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end_seen {
            let cancelled = !self.is_shut && self.under_way.is_over();
            return Poll::Ready(if cancelled { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) });
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        self.end_seen = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_shut = true;
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.under_way.reset();
    }
}
