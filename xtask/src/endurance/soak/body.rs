use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// A body whose parts come from a [`Source`].
#[derive(Debug)]
pub(super) struct Parts {
    receiver: mpsc::Receiver<Part>,
    length: Option<u64>,
    has_ended: bool,
}

/// Where the parts of a body come from. One that is dropped without [`Source::end`] breaks its body off.
#[derive(Debug)]
pub(super) struct Source(mpsc::Sender<Part>);

#[derive(Debug)]
enum Part {
    Frame(Frame<Bytes>),
    End,
}

/// A body ended before its end.
#[derive(Debug)]
pub(super) struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the body broke off")
    }
}

impl std::error::Error for BrokenOff {}

impl Parts {
    pub(super) fn empty() -> Self {
        let (_, receiver) = mpsc::channel(1);
        Self { receiver, length: Some(0), has_ended: true }
    }

    /// A body of a known `length`, or of none.
    pub(super) fn new(length: Option<u64>) -> (Source, Self) {
        let (sender, receiver) = mpsc::channel(1);
        (Source(sender), Self { receiver, length, has_ended: false })
    }
}

impl Source {
    /// Waits until the part is wanted; whether anybody still is there to want it.
    pub(super) async fn send(&self, data: impl Into<Bytes>) -> bool {
        self.0.send(Part::Frame(Frame::data(data.into()))).await.is_ok()
    }

    pub(super) async fn end(self) {
        let _ = self.0.send(Part::End).await;
    }

    pub(super) async fn end_with(self, trailers: HeaderMap) {
        if self.0.send(Part::Frame(Frame::trailers(trailers))).await.is_ok() {
            self.end().await;
        }
    }
}

impl Body for Parts {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        self.receiver.poll_recv(context).map(|part| match part {
            Some(Part::Frame(frame)) => Some(Ok(frame)),
            Some(Part::End) => {
                self.has_ended = true;
                None
            }
            None => {
                self.has_ended = true;
                Some(Err(BrokenOff))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
