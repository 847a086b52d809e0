//! A stream of HTTP/2 that carries something else, from its client's side.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::UnderWay;
use super::tunnel::Stream;

/// What a client and a tunnel say to each other in the DATA of a stream. Dropped before both have ended, it has
/// the stream reset: an end that comes too early must not pass for one that was meant.
pub(super) struct ClientStream {
    io: TokioIo<Upgraded>,
    /// Its place among the streams of the connection, which has a request under way until the tunnel ends.
    under_way: UnderWay,
    /// Whether our own end was said.
    is_shut: bool,
}

impl ClientStream {
    pub(super) fn new(upgraded: Upgraded, under_way: UnderWay) -> Self {
        Self { io: TokioIo::new(upgraded), under_way, is_shut: false }
    }
}

impl Stream for ClientStream {
    /// Behind the client's end hyper reads no more of the stream, but the task that sends on it ends when the client
    /// resets it or its connection ends.
    fn poll_failed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_shut { Poll::Pending } else { self.under_way.poll_over(context) }
    }

    /// Unless both sides have ended, a stream that is dropped is reset.
    fn fail(&mut self) {}
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
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
