//! Bodies on their way through.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::abort_on_drop::AbortOnDrop;
use super::exchange::Delivery;
use super::headers;
use super::patience::Patience;
use super::reset::{Reset, reset};
use super::stream_end;
use crate::wire::Violation;

/// The reason why a body ended before its time. It reaches hyper, which ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    /// The request's body is longer than the route allows.
    TooLarge,
    /// The client's connection failed.
    Client,
    /// The client let us wait for longer than this bound allows.
    TooSlow(Violation),
    /// A later attempt took the body over.
    Superseded,
    /// The service's connection failed.
    Service,
    /// The service cancelled its answer, which HTTP/2 can say and the client is told.
    Cancelled,
    /// The deadline of the call is over.
    Deadline,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the request body is longer than the route allows",
            Self::Client => "the client's body broke off",
            Self::TooSlow(_) => "the client's body was waited for too long",
            Self::Superseded => "a later attempt took the body over",
            Self::Service => "the service's body broke off",
            Self::Cancelled => "the service cancelled its answer",
            Self::Deadline => "the deadline is over",
        })
    }
}

/// What the other side is told by RST_STREAM of a body that will not be completed.
static CANCELLED: LazyLock<h2::Error> = LazyLock::new(|| h2::Reason::CANCEL.into());

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TooLarge | Self::Client | Self::TooSlow(_) | Self::Superseded | Self::Cancelled => {
                Some(&*CANCELLED)
            }
            Self::Service | Self::Deadline => None,
        }
    }
}

/// A request's body as one attempt sends it.
#[derive(Debug)]
pub(super) enum RequestBody {
    /// Nothing.
    Empty,
    /// The client's body.
    Sent {
        source: Rc<BodySource>,
        /// The attempt that sends it; a later attempt takes the source over.
        attempt: u32,
        /// Kept frames that this attempt has sent.
        sent: usize,
    },
}

/// A request's body, shared by the attempts of its call: measured, and kept for another attempt as far as
/// the route allows.
#[derive(Debug)]
pub(super) struct BodySource {
    incoming: RefCell<Incoming>,
    kept: RefCell<Vec<Bytes>>,
    trailers: RefCell<Option<HeaderMap>>,
    attempt: Cell<u32>,
    received: Cell<u64>,
    complete: Cell<bool>,
    /// Whether a service has answered.
    answered: Cell<bool>,
    /// Whether it was the client that let us wait last.
    waiting: Cell<bool>,
    /// Who sends it, to be told when a later attempt takes over.
    sender: RefCell<Option<Waker>>,
    replay_max: u64,
    body_max: Option<u64>,
    /// How long the client may let us wait before the service answers.
    patience: Patience,
    /// How long it has let us wait in pauses that are over.
    waited: Cell<Duration>,
    pause: RefCell<Option<Pause>>,
    /// Why the body ended early, for the answer.
    failure: Cell<Option<BodyError>>,
}

/// A time in which the client sends nothing of a body that it owes.
#[derive(Debug)]
struct Pause {
    /// When it began, unless it is over.
    since: Option<tokio::time::Instant>,
    timer: Pin<Box<Sleep>>,
}

impl BodySource {
    pub(super) fn new(
        incoming: Incoming,
        replay_max: u64,
        body_max: Option<u64>,
        patience: Patience,
    ) -> Self {
        Self {
            incoming: RefCell::new(incoming),
            kept: RefCell::default(),
            trailers: RefCell::default(),
            attempt: Cell::new(0),
            received: Cell::new(0),
            complete: Cell::new(false),
            answered: Cell::new(false),
            waiting: Cell::new(false),
            sender: RefCell::default(),
            replay_max,
            body_max,
            patience,
            waited: Cell::default(),
            pause: RefCell::default(),
            failure: Cell::new(None),
        }
    }

    /// The body for the attempt `number`; earlier attempts can no longer read, and are told so.
    ///
    /// The caller asks [`BodySource::can_replay`] at the same moment: an earlier attempt may have read on
    /// since it asked last.
    pub(super) fn attempt(self: &Rc<Self>, number: u32) -> RequestBody {
        self.attempt.set(number);
        // What the client was asked for by the attempt before, and how that ended, is no part of this one; nor is
        // the time between the two a pause of its own.
        self.answered.set(false);
        if let Some(pause) = self.pause.borrow_mut().as_mut() {
            pause.since = None;
        }
        if let Some(superseded) = self.sender.take() {
            superseded.wake();
        }
        RequestBody::Sent { source: Rc::clone(self), attempt: number, sent: 0 }
    }

    /// Whether another attempt can send the whole body.
    pub(super) fn can_replay(&self) -> bool {
        self.failure.get().is_none() && self.received.get() <= self.replay_max
    }

    /// Why the body ended before its time, if it did.
    pub(super) fn failure(&self) -> Option<BodyError> {
        self.failure.get()
    }

    /// Whether the client owes us a part of its body right now.
    pub(super) fn waits_for_client(&self) -> bool {
        self.waiting.get() && !self.complete.get()
    }

    /// Whether a part of the body is on its way that the service does not take. Of a body that was begun and is
    /// not asked for, more is there or will be.
    pub(super) fn waits_for_service(&self) -> bool {
        let is_begun = self.received.get() > 0;
        is_begun && !self.waiting.get() && !self.complete.get() && !self.incoming.borrow().is_end_stream()
    }

    fn poll(
        &self,
        attempt: u32,
        sent: &mut usize,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // Even what was kept is not enough when an earlier attempt read on past what can be kept.
        if self.attempt.get() != attempt || (*sent == 0 && attempt > 1 && !self.can_replay()) {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        let kept = self.kept.borrow();
        if let Some(data) = kept.get(*sent) {
            *sent += 1;
            if *sent == kept.len() && self.complete.get() && self.trailers.borrow().is_none() {
                // The last part is the end as well.
                *sent += 1;
            }
            return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
        }
        drop(kept);
        if self.complete.get() {
            // The kept trailers come once, after the last kept frame.
            let trailers =
                (*sent == self.kept.borrow().len()).then(|| self.trailers.borrow().clone()).flatten();
            *sent += 1;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let polled = Pin::new(&mut *self.incoming.borrow_mut()).poll_frame(context);
        self.waiting.set(polled.is_pending());
        if polled.is_pending() {
            *self.sender.borrow_mut() = Some(context.waker().clone());
            let failure = BodyError::TooSlow(ready!(self.poll_pause(context)));
            self.failure.set(Some(failure));
            return Poll::Ready(Some(Err(failure)));
        }
        if let Some(since) = self.pause.borrow_mut().as_mut().and_then(|pause| pause.since.take()) {
            self.waited.set(self.waited.get() + since.elapsed());
        }
        Poll::Ready(match ready!(polled) {
            None => {
                self.complete(sent);
                None
            }
            Some(Err(_)) => {
                self.failure.set(Some(BodyError::Client));
                Some(Err(BodyError::Client))
            }
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    headers::clean_trailers(trailers);
                }
                if let Some(data) = frame.data_ref() {
                    if let Err(error) = self.receive(data, sent) {
                        return Poll::Ready(Some(Err(error)));
                    }
                    // Known only afterwards, the end would need a frame of its own behind this one; and where this
                    // is the end, without data, it would be one that ends nothing: services take few of those.
                    if self.incoming.borrow().is_end_stream() {
                        self.complete(sent);
                    }
                } else if let Some(trailers) = frame.trailers_ref() {
                    *self.trailers.borrow_mut() = Some(trailers.clone());
                    self.complete(sent);
                }
                Some(Ok(frame))
            }
        })
    }

    /// There is no more, and the attempt that has `sent` so much knows it.
    fn complete(&self, sent: &mut usize) {
        self.complete.set(true);
        *sent = self.kept.borrow().len() + 1;
    }

    /// Waits for the end of the longest pause that there may be now, and tells its bound. Its timer is set by the
    /// first pause, and set anew only when it fires: no pause has to end before an earlier one had to.
    fn poll_pause(&self, context: &mut Context<'_>) -> Poll<Violation> {
        if self.answered.get() {
            return Poll::Pending;
        }
        let now = tokio::time::Instant::now();
        let (longest, bound) = self.patience.pause(self.received.get(), self.waited.get());
        let mut pause = self.pause.borrow_mut();
        let pause = pause.get_or_insert_with(|| Pause {
            since: Some(now),
            timer: Box::pin(tokio::time::sleep_until(now + longest)),
        });
        let over = *pause.since.get_or_insert(now) + longest;
        loop {
            ready!(pause.timer.as_mut().poll(context));
            if now >= over {
                return Poll::Ready(bound);
            }
            pause.timer.as_mut().reset(over);
        }
    }

    /// The service has answered: from now on the two may take turns, with any pauses.
    pub(super) fn answered(&self) {
        self.answered.set(true);
    }

    /// Measures a part of the body, and keeps it if another attempt can still need it.
    fn receive(&self, data: &Bytes, sent: &mut usize) -> Result<(), BodyError> {
        let received = self.received.get() + data.len() as u64;
        self.received.set(received);
        if self.body_max.is_some_and(|max| received > max) {
            self.failure.set(Some(BodyError::TooLarge));
            return Err(BodyError::TooLarge);
        }
        if received <= self.replay_max {
            self.kept.borrow_mut().push(data.clone());
            *sent += 1;
        } else {
            self.kept.borrow_mut().clear();
            *sent = 1;
        }
        Ok(())
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
            Self::Empty => Poll::Ready(None),
            Self::Sent { source, attempt, sent } => source.poll(*attempt, sent, context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Sent { source, sent, .. } => source.complete.get() && *sent > source.kept.borrow().len(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            // The headers say how the body is framed.
            Self::Sent { .. } => SizeHint::default(),
        }
    }
}

/// An answer's body on its way to the client.
#[derive(Debug)]
pub(super) enum ResponseBody {
    /// The gateway's own answer.
    Own { bytes: Bytes, _delivery: Option<Box<Delivery>> },
    /// A service's answer.
    Service(ServiceBody),
}

/// A service's body. It holds the exchange until its last byte, or until the deadline.
#[derive(Debug)]
pub(super) struct ServiceBody {
    incoming: Option<Incoming>,
    /// Whether its client gets none of it, whatever it is: it asked for the head alone, or the status says so.
    is_bodiless: bool,
    held: Held,
}

/// What a body holds until it ends.
#[derive(Debug)]
enum Held {
    /// The exchange, as long as nothing had to be waited for.
    Own(Box<Delivery>),
    /// The exchange, shared with the task that ends it at the deadline: a client that does not read is
    /// never polled for, and must not hold a bulkhead's place for ever.
    Watched(Rc<Watch>, AbortOnDrop),
    /// Nothing any more.
    Nothing,
}

#[derive(Debug, Default)]
struct Watch {
    delivery: RefCell<Option<Box<Delivery>>>,
    /// Whether it was the service that let us wait last, and not the client that did not read.
    waits_for_service: Cell<bool>,
    reader: RefCell<Option<Waker>>,
}

impl ServiceBody {
    pub(super) fn new(incoming: Incoming, delivery: Box<Delivery>) -> Self {
        let ended = incoming.is_end_stream();
        let is_bodiless = delivery.is_bodiless();
        let mut body = Self { incoming: Some(incoming), is_bodiless, held: Held::Own(delivery) };
        if ended {
            body.end(Delivery::complete);
        }
        body
    }

    /// Whether its client has all that it waits for, though the service has not ended its stream yet: a server
    /// of HTTP/1.1 asks for nothing behind the last byte of a known length.
    fn is_whole(&self) -> bool {
        self.is_bodiless || self.size_hint().exact() == Some(0)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }

    /// Ends the exchange.
    fn end(&mut self, how: impl FnOnce(&mut Delivery)) {
        match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Own(mut delivery) => how(&mut delivery),
            Held::Watched(watch, _task) => {
                if let Some(mut delivery) = watch.delivery.take() {
                    how(&mut delivery);
                }
            }
            Held::Nothing => {}
        }
    }

    /// Has the deadline watched from now on, if there is one.
    fn watch(&mut self) {
        let Held::Own(delivery) = &self.held else { return };
        let Some(at) = delivery.deadline() else { return };
        let Held::Own(delivery) = std::mem::replace(&mut self.held, Held::Nothing) else { return };
        let watch = Rc::new(Watch { delivery: RefCell::new(Some(delivery)), ..Watch::default() });
        let watched = Rc::clone(&watch);
        let task = tokio::task::spawn_local(async move {
            tokio::time::sleep_until(at).await;
            if let Some(mut delivery) = watched.delivery.take() {
                delivery.deadline_exceeded(watched.waits_for_service.get());
            }
            if let Some(reader) = watched.reader.take() {
                reader.wake();
            }
        });
        self.held = Held::Watched(watch, AbortOnDrop(task));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Held::Watched(watch, _) = &self.held {
            if watch.delivery.borrow().is_none() {
                return Poll::Ready(Some(Err(BodyError::Deadline)));
            }
            watch.waits_for_service.set(false);
            *watch.reader.borrow_mut() = Some(context.waker().clone());
        }
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        match Pin::new(incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                // Nobody asks for more after trailers, or after the last byte of a known length.
                if let Some(trailers) = frame.trailers_ref() {
                    self.end(|delivery| {
                        delivery.hear(trailers);
                        delivery.complete();
                    });
                } else if self.is_end_stream() {
                    self.end(Delivery::complete);
                } else {
                    self.watch();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.end(Delivery::complete);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                let reset = reset(&error);
                self.end(|delivery| delivery.broke_off(reset));
                let cancelled = reset.is_some_and(Reset::is_cancel);
                let error = if cancelled { BodyError::Cancelled } else { BodyError::Service };
                Poll::Ready(Some(Err(error)))
            }
            Poll::Pending => {
                self.watch();
                if let Held::Watched(watch, _) = &self.held {
                    watch.waits_for_service.set(true);
                    *watch.reader.borrow_mut() = Some(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for ServiceBody {
    fn drop(&mut self) {
        let is_whole = self.is_whole();
        let incoming = self.incoming.take();
        // The task that watches it is dropped only when its turn comes; the exchange ends now.
        self.end(|delivery| {
            if is_whole {
                let connection = delivery.delivered();
                if let Some(incoming) = incoming {
                    stream_end::wait(incoming, connection, delivery.deadline());
                }
            }
        });
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Own { bytes, .. } => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Service(body) => body.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own { bytes, .. } => bytes.is_empty(),
            Self::Service(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own { bytes, .. } => SizeHint::with_exact(bytes.len() as u64),
            Self::Service(body) => body.size_hint(),
        }
    }
}
