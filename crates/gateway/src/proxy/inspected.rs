//! A connection whose bytes are looked at between the socket and what speaks HTTP on it.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Looks at the bytes of a connection.
pub(super) trait Inspector: Unpin {
    /// Reads from `stream`, and lets pass into `buffer` what may.
    fn poll_read<S: AsyncRead>(
        &mut self,
        stream: Pin<&mut S>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>>;

    /// The first `length` bytes of `slices` were sent.
    fn wrote(&mut self, _slices: &[IoSlice<'_>], _length: usize) {}
}

/// A stream that passes by an inspector.
pub(super) struct Inspected<S, I> {
    inspector: I,
    stream: S,
}

impl<S, I> Inspected<S, I> {
    pub(super) fn by(inspector: I, stream: S) -> Self {
        Self { inspector, stream }
    }

    /// Who looks.
    pub(super) fn inspector(&self) -> &I {
        &self.inspector
    }

    /// What it looks at.
    pub(super) fn stream(&self) -> &S {
        &self.stream
    }
}

impl<S, I: fmt::Debug> fmt::Debug for Inspected<S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspected").field("inspector", &self.inspector).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + Unpin, I: Inspector> AsyncRead for Inspected<S, I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.inspector.poll_read(Pin::new(&mut this.stream), context, buffer)
    }
}

impl<S: AsyncWrite + Unpin, I: Inspector> AsyncWrite for Inspected<S, I> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length = ready!(Pin::new(&mut this.stream).poll_write(context, bytes))?;
        this.inspector.wrote(&[IoSlice::new(bytes)], length);
        Poll::Ready(Ok(length))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length = ready!(Pin::new(&mut this.stream).poll_write_vectored(context, slices))?;
        this.inspector.wrote(slices, length);
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
