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
use super::streams::Streams;
use super::tls::Secured;
use super::upgraded::Upgraded;
use super::worker::Worker;
use crate::forwarded::Trust;
use crate::wire::Violation;

/// Whom a connection is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// Whether it is a proxy whose word counts for what lies before it.
    pub(super) is_trusted: bool,
}

impl Peer {
    /// Whoever speaks from `address`.
    pub(super) fn new(address: IpAddr, trust: &Trust) -> Self {
        Self { address, is_trusted: trust.covers(address) }
    }
}

/// The client of a connection, as its exchanges know it.
pub(super) struct Client {
    pub(super) address: IpAddr,
    /// Whether it is a proxy whose word counts for what lies before it.
    pub(super) is_trusted: bool,
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
    pub(super) streams: Rc<Streams>,
    /// Whether what is dropped now belongs to a stream that was cut.
    ends_cut: Cell<bool>,
    /// Requests so far.
    requests: Cell<u64>,
    /// What its connection is for once HTTP has ended on it. It refers to this client: whoever drives the
    /// connection takes it out.
    upgraded: Cell<Option<Box<Upgraded>>>,
    /// Whether it was answered that its connection is for something else.
    switches: Cell<bool>,
}

impl Client {
    pub(super) fn new(
        peer: Peer,
        stall: Rc<Stall>,
        secured: Option<Secured>,
        observation: Rc<Observation>,
    ) -> Self {
        Self {
            address: peer.address,
            is_trusted: peer.is_trusted,
            forwarded_for: headers::address_value(peer.address),
            secured,
            under_way: Cell::new(0),
            stall,
            cut_off: Cell::new(false),
            idle_since: Cell::new(MonotonicClock::now()),
            observation,
            streams: Rc::default(),
            ends_cut: Cell::new(false),
            requests: Cell::new(0),
            upgraded: Cell::default(),
            switches: Cell::default(),
        }
    }

    /// Counts the request that comes now, and tells whether it stands in for one that was refused unread.
    pub(super) fn next_request(&self) -> Option<Violation> {
        self.requests.set(self.requests.get() + 1);
        let refusal = self.observation.refusal()?;
        (refusal.stands_in && refusal.request == self.requests.get()).then_some(refusal.violation)
    }

    /// Whether a request has come.
    pub(super) fn has_asked(&self) -> bool {
        self.requests.get() > 0
    }

    /// Counts a request of its that was refused, and tells of it.
    pub(super) fn note_refusal(&self, worker: &Worker, violation: Violation) {
        worker.refused.refused_request(violation);
        worker.tell_seldom("request_refused", || self.told(violation));
    }

    /// What an event says of a request of its that was refused.
    fn told(&self, violation: Violation) -> Vec<(&'static str, String)> {
        vec![("client", self.address.to_string()), ("reason", violation.name().to_owned())]
    }

    /// Tells that the latest request is answered, and whether its connection is for something else from now on.
    fn answered(&self) -> bool {
        let switches = self.switches.get();
        self.observation.switch.answer(self.requests.get(), switches);
        switches
    }

    /// Has its connection carry something else than HTTP as soon as the answer is written.
    pub(super) fn upgrade(&self, upgraded: Box<Upgraded>) {
        self.switches.set(true);
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

    /// A request is answered until the guard is dropped.
    pub(super) fn begin(self: &Rc<Self>) -> UnderWay {
        self.under_way.set(self.under_way.get() + 1);
        UnderWay { client: Rc::clone(self), stream: None }
    }

    /// The same for a request that is a stream of HTTP/2.
    pub(super) fn begin_stream(self: &Rc<Self>) -> UnderWay {
        let mut under_way = self.begin();
        under_way.stream = Some(self.streams.open());
        under_way
    }

    /// Whether the exchange that ends now was cut off, since its client took nothing.
    pub(super) fn cuts_off(&self) -> bool {
        self.cut_off.get() || self.ends_cut.get()
    }

    /// How long nothing has been under way: no request, and no answer on its way to a client that is slow to
    /// take it. To one that was refused nothing is on its way but the end.
    pub(super) fn idle_for(&self, now: Instant) -> Duration {
        if self.under_way.get() > 0 || (self.stall.since().is_some() && self.refusal().is_none()) {
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
pub(super) struct UnderWay {
    client: Rc<Client>,
    /// Its place among the streams of HTTP/2.
    stream: Option<usize>,
}

impl UnderWay {
    /// Tells that it is answered, and returns whether its connection is for something else from now on.
    pub(super) fn answered(&self) -> bool {
        self.client.answered()
    }

    /// Ready when nothing more can be sent on its stream.
    pub(super) fn poll_over(&self, context: &mut Context<'_>) -> Poll<()> {
        self.stream.map_or(Poll::Ready(()), |stream| self.client.streams.poll_over(stream, context))
    }

    /// Ends its stream, by a reset unless it has ended.
    pub(super) fn reset(&self) {
        if let Some(stream) = self.stream {
            self.client.streams.reset(stream);
        }
    }

    /// Whether it is one of the streams of HTTP/2.
    fn is_stream(&self) -> bool {
        self.stream.is_some()
    }

    /// Notes whether a part of the answer waits for the client.
    fn note(&self, waits: bool) {
        if let Some(stream) = self.stream {
            self.client.streams.note(stream, waits);
        }
    }

    /// What is dropped until it is itself was cut off, if its stream was.
    fn ends(&self) {
        self.client.ends_cut.set(self.stream.is_some_and(|stream| self.client.streams.is_cut(stream)));
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(stream) = self.stream {
            self.client.ends_cut.set(false);
            self.client.streams.close(stream);
        }
        self.client.under_way.set(self.client.under_way.get() - 1);
        self.client.idle_since.set(MonotonicClock::now());
    }
}

pin_project_lite::pin_project! {
    /// An answer's body. hyper drops it when it has taken the last byte, also when HTTP/2's flow control made
    /// it wait for the client; the exchange itself ends with the service's last byte.
    pub(super) struct Answering {
        #[pin]
        body: ResponseBody,
        under_way: Option<UnderWay>,
        // What is left of a part of the answer that is handed over in several.
        rest: Option<Bytes>,
    }

    impl PinnedDrop for Answering {
        fn drop(this: Pin<&mut Self>) {
            // Before the body is, which ends the exchange.
            if let Some(under_way) = this.project().under_way {
                under_way.ends();
            }
        }
    }
}

impl Answering {
    pub(super) fn new(body: ResponseBody, under_way: Option<UnderWay>) -> Self {
        Self { body, under_way, rest: None }
    }
}

/// The most of an answer over HTTP/2 that is handed over together: a frame's payload.
///
/// h2 takes a part of any size once the client's window has room for one byte, and only then asks for the next.
/// So whoever takes a large part steadily could not be told from who takes nothing.
const PART_BYTES_MAX: usize = 16 << 10;

/// Larger last parts of an answer over HTTP/2 are handed over in two, the second of one byte.
///
/// When h2 has the last part nothing can end the stream any more. The byte is taken when there is room for it,
/// and so for all before it; until then the stream can be cut.
const LAST_PART_BYTES_MAX: usize = 4 << 10;

/// Takes from `data` what is handed over later; whether it may be the last of the body, as it is when nobody
/// knows what follows, is said by `left`, the most that does.
fn split(data: &mut Bytes, left: Option<u64>) -> Option<Bytes> {
    if data.len() > PART_BYTES_MAX {
        return Some(data.split_off(PART_BYTES_MAX));
    }
    let may_be_last = left.is_none_or(|left| left == 0);
    (may_be_last && data.len() > LAST_PART_BYTES_MAX).then(|| data.split_off(data.len() - 1))
}

impl Body for Answering {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut this = self.project();
        let mut polled = match this.rest.take() {
            Some(rest) => Poll::Ready(Some(Ok(Frame::data(rest)))),
            None => this.body.as_mut().poll_frame(context),
        };
        if let Some(under_way) = this.under_way {
            under_way.note(matches!(polled, Poll::Ready(Some(Ok(_)))));
            if under_way.is_stream()
                && let Poll::Ready(Some(Ok(frame))) = &mut polled
                && let Some(data) = frame.data_mut()
            {
                *this.rest = split(data, this.body.size_hint().upper());
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let of_body = self.body.size_hint();
        let Some(rest) = &self.rest else { return of_body };
        let rest = rest.len() as u64;
        let mut all = SizeHint::new();
        all.set_lower(of_body.lower().saturating_add(rest));
        if let Some(upper) = of_body.upper().and_then(|upper| upper.checked_add(rest)) {
            all.set_upper(upper);
        }
        all
    }
}
