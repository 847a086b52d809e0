//! Bodies on their way through.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::exchange::Delivery;

/// The reason why a body ended before its time. It reaches hyper, which ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    /// The request's body is longer than the route allows.
    TooLarge,
    /// The client's connection failed.
    Client,
    /// A later attempt took the body over.
    Superseded,
    /// The service's connection failed.
    Service,
    /// The deadline of the call is over.
    Deadline,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the request body is longer than the route allows",
            Self::Client => "the client's body broke off",
            Self::Superseded => "a later attempt took the body over",
            Self::Service => "the service's body broke off",
            Self::Deadline => "the deadline is over",
        })
    }
}

impl std::error::Error for BodyError {}

/// A request's body as one attempt sends it.
#[derive(Debug)]
pub(super) enum RequestBody {
    /// No body, or one that passes without being watched.
    Plain(Incoming),
    /// A body that is measured, and kept for another attempt as far as the route allows.
    Watched {
        source: Rc<BodySource>,
        /// The attempt that sends it; a later attempt takes the source over.
        attempt: u32,
        /// Kept frames that this attempt has sent.
        sent: usize,
    },
    /// Nothing: a repetition of a request without a body.
    Empty,
}

/// A request's body, shared by the attempts of its call.
#[derive(Debug)]
pub(super) struct BodySource {
    incoming: RefCell<Incoming>,
    kept: RefCell<Vec<Bytes>>,
    trailers: RefCell<Option<HeaderMap>>,
    attempt: Cell<u32>,
    received: Cell<u64>,
    complete: Cell<bool>,
    replay_max: u64,
    body_max: Option<u64>,
    /// Why the body ended early, for the answer.
    failure: Cell<Option<BodyError>>,
}

impl BodySource {
    pub(super) fn new(incoming: Incoming, replay_max: u64, body_max: Option<u64>) -> Self {
        Self {
            incoming: RefCell::new(incoming),
            kept: RefCell::default(),
            trailers: RefCell::default(),
            attempt: Cell::new(0),
            received: Cell::new(0),
            complete: Cell::new(false),
            replay_max,
            body_max,
            failure: Cell::new(None),
        }
    }

    /// The body for the attempt `number`; earlier attempts can no longer read.
    pub(super) fn attempt(self: &Rc<Self>, number: u32) -> RequestBody {
        self.attempt.set(number);
        RequestBody::Watched { source: Rc::clone(self), attempt: number, sent: 0 }
    }

    /// Whether another attempt can send the whole body.
    pub(super) fn can_replay(&self) -> bool {
        self.failure.get().is_none() && self.received.get() <= self.replay_max
    }

    pub(super) fn failure(&self) -> Option<BodyError> {
        self.failure.get()
    }

    fn poll(
        &self,
        attempt: u32,
        sent: &mut usize,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.attempt.get() != attempt {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        if let Some(kept) = self.kept.borrow().get(*sent) {
            *sent += 1;
            return Poll::Ready(Some(Ok(Frame::data(kept.clone()))));
        }
        if self.complete.get() {
            // The kept trailers come once, after the last kept frame.
            let trailers =
                (*sent == self.kept.borrow().len()).then(|| self.trailers.borrow().clone()).flatten();
            *sent += 1;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(Pin::new(&mut *self.incoming.borrow_mut()).poll_frame(context));
        Poll::Ready(match frame {
            None => {
                self.complete.set(true);
                *sent = self.kept.borrow().len() + 1;
                None
            }
            Some(Err(_)) => {
                self.failure.set(Some(BodyError::Client));
                Some(Err(BodyError::Client))
            }
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let received = self.received.get() + data.len() as u64;
                    self.received.set(received);
                    if self.body_max.is_some_and(|max| received > max) {
                        self.failure.set(Some(BodyError::TooLarge));
                        return Poll::Ready(Some(Err(BodyError::TooLarge)));
                    }
                    if received <= self.replay_max {
                        self.kept.borrow_mut().push(data.clone());
                        *sent += 1;
                    } else {
                        self.kept.borrow_mut().clear();
                        *sent = 0;
                    }
                } else if let Some(trailers) = frame.trailers_ref() {
                    *self.trailers.borrow_mut() = Some(trailers.clone());
                    self.complete.set(true);
                    *sent = self.kept.borrow().len() + 1;
                }
                Some(Ok(frame))
            }
        })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Plain(incoming) => Pin::new(incoming)
                .poll_frame(context)
                .map(|frame| frame.map(|frame| frame.map_err(|_| BodyError::Client))),
            Self::Watched { source, attempt, sent } => source.poll(*attempt, sent, context),
            Self::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(incoming) => incoming.is_end_stream(),
            Self::Watched { source, sent, .. } => source.complete.get() && *sent > source.kept.borrow().len(),
            Self::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(incoming) => incoming.size_hint(),
            // The `Content-Length` header passes as it came; a body without one is chunked again.
            Self::Watched { .. } => SizeHint::default(),
            Self::Empty => SizeHint::with_exact(0),
        }
    }
}

/// An answer's body on its way to the client.
#[derive(Debug)]
pub(super) enum ResponseBody {
    /// The gateway's own answer.
    Own { bytes: Bytes, _delivery: Option<Delivery> },
    /// A service's answer.
    Service(ServiceBody),
}

/// A service's body. It keeps the exchange alive, and completes it with the last byte.
#[derive(Debug)]
pub(super) struct ServiceBody {
    pub(super) incoming: Incoming,
    pub(super) delivery: Delivery,
    /// Armed when the service lets us wait for the first time.
    pub(super) timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl ServiceBody {
    /// Whether the deadline is over; arms the timer.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.delivery.deadline() else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        timer.as_mut().poll(context)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = match self.get_mut() {
            Self::Own { bytes, .. } => {
                let bytes = std::mem::take(bytes);
                return Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))));
            }
            Self::Service(body) => body,
        };
        match Pin::new(&mut body.incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if body.incoming.is_end_stream() {
                    body.delivery.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                body.delivery.complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => {
                body.delivery.broke_off();
                Poll::Ready(Some(Err(BodyError::Service)))
            }
            Poll::Pending => {
                ready!(body.poll_deadline(context));
                body.delivery.deadline_exceeded();
                Poll::Ready(Some(Err(BodyError::Deadline)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own { bytes, .. } => bytes.is_empty(),
            Self::Service(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own { bytes, .. } => SizeHint::with_exact(bytes.len() as u64),
            Self::Service(body) => body.incoming.size_hint(),
        }
    }
}
