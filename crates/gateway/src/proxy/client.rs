//! The client of a connection, and what is under way for it.

use std::cell::Cell;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http_body::{Body, Frame, SizeHint};
use intertie_core::clock::Instant;
use intertie_resilience::MonotonicClock;

use super::body::{BodyError, ResponseBody};
use super::headers;
use super::io::Stall;
use super::observed::{Observation, Refusal};
use super::tls::Secured;
use super::upgraded::Upgraded;
use crate::wire::Violation;

/// The client of a connection, as its exchanges know it.
pub(super) struct Client {
    pub(super) address: IpAddr,
    /// The address as services are told it.
    pub(super) forwarded_for: HeaderValue,
    /// What TLS says of it, where it is spoken.
    pub(super) secured: Option<Secured>,
    under_way: Cell<usize>,
    stall: Rc<Stall>,
    /// Whether its connection was cut off, since it took nothing for too long.
    cut_off: Cell<bool>,
    idle_since: Cell<Instant>,
    pub(super) observation: Rc<Observation>,
    /// Requests so far.
    requests: Cell<u64>,
    /// What its connection is for once HTTP has ended on it. It refers to this client: whoever drives the
    /// connection takes it out.
    upgraded: Cell<Option<Box<Upgraded>>>,
}

impl Client {
    pub(super) fn new(
        address: IpAddr,
        stall: Rc<Stall>,
        secured: Option<Secured>,
        observation: Rc<Observation>,
    ) -> Self {
        Self {
            address,
            forwarded_for: headers::address_value(address),
            secured,
            under_way: Cell::new(0),
            stall,
            cut_off: Cell::new(false),
            idle_since: Cell::new(MonotonicClock::now()),
            observation,
            requests: Cell::new(0),
            upgraded: Cell::default(),
        }
    }

    /// Counts the request that comes now, and tells whether it stands in for one that was refused unread.
    pub(super) fn next_request(&self) -> Option<Violation> {
        self.requests.set(self.requests.get() + 1);
        let refusal = self.observation.refusal()?;
        (refusal.stands_in && refusal.request == self.requests.get()).then_some(refusal.violation)
    }

    /// Tells that the latest request is answered, and whether with another protocol.
    fn answered(&self, switched: bool) {
        self.observation.switch.answer(self.requests.get(), switched);
    }

    /// Has its connection carry another protocol as soon as the answer is written.
    pub(super) fn upgrade(&self, upgraded: Box<Upgraded>) {
        self.upgraded.set(Some(upgraded));
    }

    /// What its connection is for from now on, if not for HTTP.
    pub(super) fn take_upgraded(&self) -> Option<Box<Upgraded>> {
        self.upgraded.take()
    }

    /// What was refused of its connection, if anything was.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.observation.refusal()
    }

    /// When its connection is to be cut off, if it goes on to take nothing of what waits for it.
    pub(super) fn stalled_until(&self, limit: Duration) -> Option<tokio::time::Instant> {
        self.stall.since().map(|since| MonotonicClock::to_tokio(since) + limit)
    }

    /// Its connection is cut off: it took nothing for too long.
    pub(super) fn cut_off(&self) {
        self.cut_off.set(true);
        self.stall.abort();
    }

    /// Whether its connection was cut off.
    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off.get()
    }

    /// A request is answered until the guard is dropped.
    pub(super) fn begin(self: &Rc<Self>) -> UnderWay {
        self.under_way.set(self.under_way.get() + 1);
        UnderWay(Rc::clone(self))
    }

    /// How long nothing has been under way: no request, and no answer on its way to a client that is slow to
    /// take it.
    pub(super) fn idle_for(&self, now: Instant) -> Duration {
        if self.under_way.get() > 0 || self.stall.since().is_some() {
            self.idle_since.set(now);
        }
        now.saturating_since(self.idle_since.get())
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A request from its head until its answer was handed over to the last byte.
#[derive(Debug)]
pub(super) struct UnderWay(Rc<Client>);

impl UnderWay {
    /// Tells that it is answered, and whether with another protocol.
    pub(super) fn answered(&self, switched: bool) {
        self.0.answered(switched);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
        self.0.idle_since.set(MonotonicClock::now());
    }
}

pin_project_lite::pin_project! {
    /// An answer's body. hyper drops it when it has taken the last byte, also when HTTP/2's flow control made
    /// it wait for the client; the exchange itself ends with the service's last byte.
    pub(super) struct Answering {
        #[pin]
        body: ResponseBody,
        under_way: Option<UnderWay>,
    }
}

impl Answering {
    pub(super) fn new(body: ResponseBody, under_way: Option<UnderWay>) -> Self {
        Self { body, under_way }
    }
}

impl Body for Answering {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.project().body.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
