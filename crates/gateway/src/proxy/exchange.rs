//! What is known of a request while it is served, from its head to the last byte of its answer, and how it
//! is accounted for in the end.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, response};
use hyper::body::Incoming;
use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use intertie_core::id::Id;
use intertie_core::rejection::Policy;
use intertie_core::telemetry::Access;
use intertie_core::trace::TraceContext;
use intertie_resilience::deadline::Deadline;
use intertie_resilience::pipeline::http::grpc_verdict;
use intertie_resilience::{MonotonicClock, bulkhead};

use super::access::RequestLine;
use super::answer::{About, Failure, Manner};
use super::attempt::Attempt;
use super::body::{ResponseBody, ServiceBody};
use super::call::Call;
use super::client::Client;
use super::error_code::ErrorCode;
use super::headers::{self, Present};
use super::pool::Connection;
use super::rate_limit::Told;
use super::reset::Reset;
use super::trace::{self, Outcome, Recording};
use super::upgraded::{Granted, Upgraded};
use super::worker::{RouteRef, Worker};
use crate::forwarded::{Origin, origin};
use crate::plan::Endpoint;
use crate::stats::UpgradeEnd;
use crate::wire::Violation;

/// Why a request is answered without a look at what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// What came is in doubt; the request stands in for it.
    Unread(Violation),
    /// The request is what came.
    Read(Violation),
}

/// Answers one request. Never fails: what goes wrong is an answer too.
pub(super) async fn serve(
    worker: Rc<Worker>,
    client: Rc<Client>,
    id: Id,
    refused: Option<Refused>,
    request: Box<Request<Incoming>>,
) -> Response<ResponseBody> {
    let (mut exchange, call) = begin(worker, client, id, refused, request);
    let mut call = match call {
        Ok(call) => call,
        Err(failure) => return exchange.answer(failure),
    };
    match call.run(&mut exchange).await {
        Ok(Settled::Answered(answer)) => answer.deliver(exchange),
        Ok(Settled::Granted(granted)) => Upgraded::open(exchange, *granted),
        Err(failure) => exchange.answer(failure),
    }
}

/// What of it needs no waiting: what it holds of the request is no part of the future.
fn begin(
    worker: Rc<Worker>,
    client: Rc<Client>,
    id: Id,
    refused: Option<Refused>,
    request: Box<Request<Incoming>>,
) -> (Box<Exchange>, Result<Box<Call>, Failure>) {
    let (parts, incoming) = request.into_parts();
    let mut exchange = Box::new(Exchange::begin(worker, client, id, &parts));
    let call = match refused {
        Some(refused) => Err(exchange.refuse(refused)),
        None => Call::prepare(&mut exchange, parts, incoming).map(Box::new),
    };
    (exchange, call)
}

/// What is known of a request while it is served, and accounted for when it is dropped: exactly once,
/// whether the answer was delivered, the client left, or the code panicked.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) worker: Rc<Worker>,
    pub(super) client: Rc<Client>,
    /// Which of the headers that concern the gateway the client sent.
    pub(super) present: Present,
    pub(super) manner: Manner,
    /// Where it came from, if a trusted proxy brought it and tells.
    pub(super) origin: Option<Box<Origin>>,
    pub(super) started: Instant,
    /// When it was complete, if it is.
    ended: Option<Instant>,
    pub(super) request_id: HeaderValue,
    pub(super) route: Option<RouteRef>,
    pub(super) bulkhead: Option<bulkhead::OwnedPermit>,
    status: u16,
    pub(super) attempts: u32,
    error: Option<ErrorCode>,
    /// What its rate limiters said.
    pub(super) told: Told,
    /// The error of HTTP/2 by which the service ended the last attempt, or its answer's body.
    pub(super) http2_error: Option<&'static str>,
    /// Whether its client holds back its body until it is asked for.
    pub(super) expects_continue: bool,
    /// How it ended, unless with a complete answer.
    cut: Option<&'static str>,
    /// For a tunnel, which was counted when it was granted: how that ended.
    upgrade: Option<UpgradeEnd>,
    /// Kept only for the access log.
    line: Option<Box<RequestLine>>,
    /// Its place in its trace, once its headers are read.
    trace: Option<TraceContext>,
    /// Kept only while its trace is recorded.
    recording: Option<Box<Recording>>,
}

impl Exchange {
    fn begin(worker: Rc<Worker>, client: Rc<Client>, id: Id, parts: &Parts) -> Self {
        let line = worker.access.as_ref().map(|logging| Box::new(RequestLine::read(&logging.terms, parts)));
        let present = Present::among(&parts.headers);
        let peer = client.address;
        let brought = present.any(Present::FORWARDED) && client.is_trusted;
        let origin = brought.then(|| Box::new(origin(peer, &parts.headers, &worker.trust)));
        Self {
            origin,
            client,
            present,
            manner: Manner::of(parts, present),
            started: MonotonicClock::now(),
            ended: None,
            request_id: id_value(id),
            worker,
            route: None,
            bulkhead: None,
            status: 0,
            attempts: 0,
            error: None,
            told: Told::default(),
            http2_error: None,
            expects_continue: false,
            cut: Some("client_left"),
            upgrade: None,
            line,
            trace: None,
            recording: None,
        }
    }

    /// Reads the trace that it belongs to, and writes its own place in it for the service.
    pub(super) fn begin_trace(&mut self, parts: &mut Parts, present: Present) {
        let any = present.any(Present::TRACE);
        let tracing = self.worker.tracing.as_ref();
        let heeded = tracing.is_none_or(|tracing| tracing.continues(&self.client));
        let (context, recording) = trace::begin(parts, any, heeded, tracing);
        (self.trace, self.recording) = (Some(context), recording);
    }

    /// The place of the attempt under way in a trace that is recorded.
    pub(super) fn attempt_trace(&self) -> Option<TraceContext> {
        self.recording.as_ref()?.attempt()
    }

    fn refuse(&mut self, refused: Refused) -> Failure {
        let violation = match refused {
            Refused::Read(violation) => violation,
            Refused::Unread(violation) => {
                if let Some(line) = &mut self.line {
                    line.forget();
                }
                violation
            }
        };
        Failure::refused(violation, &self.worker.client_limits)
    }

    /// The gateway's own answer.
    fn answer(mut self: Box<Self>, failure: Failure) -> Response<ResponseBody> {
        let request_id = self.request_id.to_str().unwrap_or_default();
        let route = self.route.as_ref().map(|route| route.name.as_ref());
        self.error = Some(failure.code);
        self.cut = None;
        if let (Some(policy), Some(route)) = (failure.rejected_by, &self.route) {
            route.stats.rejected(policy);
        }
        if let (Some(policy), Some(recording)) = (failure.rejected_by, &mut self.recording) {
            recording.rejected(policy);
        }
        if let (Some(policy), Some(auditor)) = (failure.rejected_by, &self.worker.auditor) {
            auditor.rejected(policy, || {
                vec![
                    ("route", route.unwrap_or_default().to_owned()),
                    ("client", self.address().to_string()),
                    ("code", failure.code.code().to_owned()),
                    ("request_id", request_id.to_owned()),
                ]
            });
        }
        let (code, proxy_error, worker) = (failure.code, failure.proxy_error, &self.worker);
        // A body that is not read to its end would pass for the next request (RFC 9112, section 9.3).
        let in_body = matches!(code, ErrorCode::RequestTimeout | ErrorCode::BodyTooLarge);
        let closes = in_body || self.expects_continue;
        let about = About { request_id, route, clock: &worker.clock, pages: worker.signature.error_pages() };
        let response = failure.into_response(self.manner, &about);
        let (mut parts, bytes) = response.into_parts();
        parts.headers.insert(&headers::REQUEST_ID, self.request_id.clone());
        worker.signature.write_proxy_status(&mut parts.headers, proxy_error);
        if closes {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(route) = &self.route {
            self.told.write(&mut parts.headers, route.rate_limit_policy());
        }
        self.status = parts.status.as_u16();
        let delivery = Delivery { exchange: self, attempt: None, connection: None, deadline: None };
        Response::from_parts(parts, ResponseBody::Own { bytes, _delivery: Some(Box::new(delivery)) })
    }

    /// The client's address.
    pub(super) fn address(&self) -> IpAddr {
        self.origin.as_ref().map_or(self.client.address, |origin| origin.address)
    }

    /// Tells the bulkhead how the attempt went that ended at `now`: each shows what the service can take.
    pub(super) fn attempt_ended(
        &mut self,
        now: Instant,
        class: Class,
        latency: Duration,
        outcome: Result<StatusCode, ErrorCode>,
    ) {
        if let Some(permit) = &self.bulkhead {
            permit.observe(now, class, latency);
        }
        if let Some(recording) = &mut self.recording {
            recording.attempt_ended(now, outcome);
        }
    }

    /// It is answered by a switch to another protocol, or by a tunnel.
    pub(super) fn upgraded(&mut self, status: StatusCode, now: Instant) {
        self.status = status.as_u16();
        // Until the other protocol has been spoken to its end.
        self.upgrade = Some(UpgradeEnd::ClientLeft);
        if let Some(route) = &self.route {
            route.stats.finished(self.status, now.saturating_since(self.started));
            route.stats.upgrades.begin();
        }
    }

    /// Writes into the head of an answer what clients are told of their request.
    pub(super) fn sign(&mut self, parts: &mut response::Parts) {
        parts.headers.insert(&headers::REQUEST_ID, self.request_id.clone());
        if let Some(route) = &self.route {
            self.told.write(&mut parts.headers, route.rate_limit_policy());
        }
    }

    /// The other protocol has ended.
    pub(super) fn upgrade_ended(&mut self, how: UpgradeEnd) {
        self.upgrade = Some(how);
        self.cut = (how != UpgradeEnd::Closed).then_some(how.name());
    }

    /// Notes the endpoint of the attempt that begins at `now`.
    pub(super) fn attempt_begins(&mut self, endpoint: &Endpoint, now: Instant) {
        self.attempts += 1;
        self.http2_error = None;
        if self.attempts > 1 {
            endpoint.stats.retries.increment();
        }
        if let Some(line) = &mut self.line {
            line.endpoint = Some(Arc::clone(&endpoint.shown));
        }
        if let (Some(recording), Some(trace)) = (&mut self.recording, self.trace) {
            recording.attempt_begins(trace, &endpoint.address, now);
        }
    }
}

impl Exchange {
    /// Tells the spans of a recorded request that ended at `ended`.
    fn tell_trace(&mut self, ended: Instant) {
        let Some(recording) = self.recording.take() else { return };
        let (Some(tracing), Some(context)) = (&self.worker.tracing, self.trace) else { return };
        let route = self.route.as_deref();
        let outcome = Outcome {
            started: self.started,
            ended,
            status: self.status,
            error: self.error,
            cut: self.cut,
            scheme: if self.client.secured.is_some() { "https" } else { "http" },
            client: self.address().to_string(),
            request_id: &self.request_id,
            route: route.map(|route| (&*route.name, route.path())),
            service: route.map(|route| &*route.service.name),
            service_scheme: route.map_or("http", |route| route.service.transport.scheme().as_str()),
        };
        recording.finish(tracing, context, &outcome, (MonotonicClock::now(), self.worker.clock.now()));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.status = StatusCode::INTERNAL_SERVER_ERROR.as_u16();
            self.error = Some(ErrorCode::InternalError);
            self.cut = None;
        }
        if self.cut == Some("client_left") && self.client.cuts_off() {
            self.cut = Some("send_timeout");
        }
        let now = self.ended.unwrap_or_else(MonotonicClock::now);
        let duration = now.saturating_since(self.started);
        let stats = match &self.route {
            Some(route) => &route.stats,
            None => &self.worker.unrouted,
        };
        // A gRPC call that failed is answered 200.
        let outcome = self.error.map_or(self.status, |code| code.status().as_u16());
        if let Some(how) = self.upgrade {
            stats.upgrades.end(how);
        } else {
            stats.finished(outcome, duration);
            if let Some(error) = self.error {
                stats.failed(error);
            }
            if let Some(how) = self.cut {
                stats.broke_off(how);
            }
            if self.cut == Some("client_left") {
                stats.cancelled.increment();
            }
        }
        self.tell_trace(now);
        let failed = self.cut.is_some() || !(100..400).contains(&outcome);
        if let (Some(logging), Some(line)) = (&self.worker.access, self.line.take())
            && let Some(sample) = logging.terms.keep(failed, duration)
        {
            (logging.sink)(Access {
                request_id: self.request_id.to_str().unwrap_or_default().to_owned(),
                client: self.address(),
                method: line.method,
                host: line.host,
                path: line.path,
                status: self.status,
                duration,
                route: self.route.as_ref().map(|route| Arc::clone(&route.name)),
                endpoint: line.endpoint,
                attempts: self.attempts,
                tls: self.client.secured.as_ref().map(|secured| secured.version),
                error: self.error.map(ErrorCode::code),
                http2_error: self.http2_error,
                cut: self.cut,
                trace_id: self.trace.map(|trace| trace.trace_id),
                headers: line.headers,
                sample,
            });
        }
    }
}

/// How a call went well, as far as is known.
#[expect(clippy::large_enum_variant, reason = "most calls are answered, and none should allocate for it")]
pub(super) enum Settled {
    Answered(Answer),
    /// With another protocol, or a tunnel.
    Granted(Box<Granted>),
}

/// A service's answer, and what must be kept until its body is delivered.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) connection: Connection,
    /// Not yet resolved when the head was good: the body can still break off.
    pub(super) attempt: Option<(Attempt, Class)>,
    pub(super) deadline: Deadline,
    pub(super) exhausted: bool,
}

impl Answer {
    fn deliver(self, mut exchange: Box<Exchange>) -> Response<ResponseBody> {
        let (mut parts, incoming) = self.response.into_parts();
        exchange.status = parts.status.as_u16();
        let present = Present::among(&parts.headers);
        headers::remove_hop_by_hop(&mut parts.headers, present);
        if self.exhausted {
            headers::mark_exhausted(&mut parts.headers);
        }
        exchange.worker.signature.write_via_answer(&mut parts.headers, parts.version);
        exchange.sign(&mut parts);
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        let delivery = Delivery {
            exchange,
            attempt: self.attempt,
            connection: Some(self.connection),
            deadline: Some(self.deadline),
        };
        Response::from_parts(parts, ResponseBody::Service(ServiceBody::new(incoming, Box::new(delivery))))
    }
}

/// What an answer's body holds until its last byte is delivered.
#[derive(Debug)]
pub(super) struct Delivery {
    exchange: Box<Exchange>,
    attempt: Option<(Attempt, Class)>,
    connection: Option<Connection>,
    deadline: Option<Deadline>,
}

impl Delivery {
    /// The instant at which the body must be complete, on tokio's clock.
    pub(super) fn deadline(&self) -> Option<tokio::time::Instant> {
        self.deadline.and_then(Deadline::at).map(MonotonicClock::to_tokio)
    }

    /// The last byte is there: the connection can carry the next exchange.
    pub(super) fn complete(&mut self) {
        let now = MonotonicClock::now();
        self.exchange.cut = None;
        self.exchange.ended = Some(now);
        if let (Some(connection), Some(route)) = (self.connection.take(), &self.exchange.route) {
            self.exchange.worker.pool.keep(&route.service, connection, now);
        }
        if let Some((attempt, class)) = self.attempt.take() {
            attempt.resolve(class, now, &self.exchange.worker.events);
        }
    }

    /// The client has all of it, though the service has not ended its stream yet; the connection is for whoever
    /// waits for that.
    pub(super) fn delivered(&mut self) -> Option<Connection> {
        let connection = self.connection.take();
        self.complete();
        connection
    }

    /// Whether nothing of a body goes to the client (RFC 9110, section 6.4.1).
    pub(super) fn is_bodiless(&self) -> bool {
        self.exchange.manner.is_head || matches!(self.exchange.status, 204 | 304)
    }

    /// A gRPC service says at last how the call went.
    pub(super) fn hear(&mut self, trailers: &HeaderMap) {
        if let Some((_, class)) = &mut self.attempt
            && self.exchange.manner.is_grpc()
        {
            *class = grpc_verdict(StatusCode::OK, trailers, &self.exchange.worker.clock).class;
        }
    }

    /// The service ended the body before its time, in HTTP/2 with an error code.
    pub(super) fn broke_off(&mut self, reset: Option<Reset>) {
        self.exchange.http2_error = reset.map(Reset::name);
        self.cut("service_broke_off", reset.map_or(Class::Transient, Reset::class));
    }

    /// The deadline is over before the body is; `by_service` when it is the service that is slow.
    pub(super) fn deadline_exceeded(&mut self, by_service: bool) {
        if let Some(route) = &self.exchange.route {
            route.stats.rejected(Policy::Deadline);
        }
        let judges = self.deadline.is_some_and(|deadline| deadline.judges_from(self.exchange.started));
        let class = if judges && by_service { Class::Transient } else { Class::Unjudged };
        self.cut("deadline", class);
    }

    fn cut(&mut self, how: &'static str, class: Class) {
        self.exchange.cut = Some(how);
        self.connection = None;
        if let Some((attempt, _)) = self.attempt.take() {
            attempt.resolve(class, MonotonicClock::now(), &self.exchange.worker.events);
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        // The client left in the middle of a body; the service did nothing wrong.
        if let Some((attempt, class)) = self.attempt.take() {
            attempt.resolve(class, MonotonicClock::now(), &self.exchange.worker.events);
        }
    }
}

/// The answer to a request whose handling panicked; the exchange accounted for itself when it unwound.
pub(super) fn panicked(worker: &Worker, id: Id) -> Response<ResponseBody> {
    let failure = Failure::new(ErrorCode::InternalError, "the gateway failed while it handled this request");
    let pages = worker.signature.error_pages();
    let about = About { request_id: &id.to_string(), route: None, clock: &worker.clock, pages };
    let mut response = failure.into_response(Manner::DEFAULT, &about);
    response.headers_mut().insert(&headers::REQUEST_ID, id_value(id));
    worker.signature.write_proxy_status(response.headers_mut(), ErrorCode::InternalError.proxy_error());
    response.map(|bytes: Bytes| ResponseBody::Own { bytes, _delivery: None })
}

fn id_value(id: Id) -> HeaderValue {
    HeaderValue::from_bytes(&id.to_hex()).unwrap_or_else(|_| HeaderValue::from_static(""))
}
