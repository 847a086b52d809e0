//! One request from its head to the last byte of its answer, under its route's policies in their
//! canonical order: deadline, rate limiter, bulkhead, retry, choice of endpoint, circuit breaker, attempt
//! timeout.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use intertie_core::id::Id;
use intertie_core::quantity::{ByteSize, Ratio};
use intertie_core::rejection::{Policy, Rejection};
use intertie_core::telemetry::Access;
use intertie_resilience::deadline::{Deadline, LimitedBy, SetBy};
use intertie_resilience::rate_limiter::Count;
use intertie_resilience::retry::Retry;
use intertie_resilience::{MonotonicClock, bulkhead};

use super::answer::{ErrorCode, Failure};
use super::attempt::{Attempt, Tried};
use super::body::{BodyError, BodySource, RequestBody, ResponseBody, ServiceBody};
use super::headers::{self, Marks, Passage};
use super::pool::Connection;
use super::worker::{RouteRef, Worker};
use crate::plan::LimitKey;
use crate::route::{Found, RequestView};

/// Answers one request. Never fails: what goes wrong is an answer too.
pub(super) async fn serve(
    worker: Rc<Worker>,
    client: IpAddr,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let (parts, incoming) = request.into_parts();
    let mut exchange = Exchange::begin(worker, client, &parts);
    match call(&mut exchange, parts, incoming).await {
        Ok(answer) => answer.deliver(exchange),
        Err(failure) => exchange.answer(failure),
    }
}

/// What is known of a request while it is served, and accounted for when it is dropped: exactly once,
/// whether the answer was delivered, the client left, or the code panicked.
#[derive(Debug)]
pub(super) struct Exchange {
    worker: Rc<Worker>,
    started: Instant,
    client: IpAddr,
    request_id: HeaderValue,
    route: Option<RouteRef>,
    bulkhead: Option<bulkhead::Permit>,
    status: u16,
    attempts: u32,
    error: Option<ErrorCode>,
    /// How it ended, unless with a complete answer.
    cut: Option<&'static str>,
    /// Kept only for the access log.
    line: Option<Box<RequestLine>>,
}

#[derive(Debug)]
struct RequestLine {
    method: String,
    host: String,
    path: String,
    endpoint: Option<String>,
}

impl Exchange {
    fn begin(worker: Rc<Worker>, client: IpAddr, parts: &Parts) -> Self {
        let id = Id::random().to_hex();
        let line = worker.access.as_ref().map(|_| {
            let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
            Box::new(RequestLine {
                method: parts.method.to_string(),
                host: parts.uri.host().or(host).unwrap_or_default().to_owned(),
                path: parts.uri.path().to_owned(),
                endpoint: None,
            })
        });
        Self {
            started: MonotonicClock::now(),
            client,
            request_id: HeaderValue::from_bytes(&id).unwrap_or_else(|_| HeaderValue::from_static("")),
            worker,
            route: None,
            bulkhead: None,
            status: 0,
            attempts: 0,
            error: None,
            cut: Some("client_left"),
            line,
        }
    }

    /// The gateway's own answer.
    fn answer(mut self, failure: Failure) -> Response<ResponseBody> {
        let request_id = self.request_id.to_str().unwrap_or_default();
        let route = self.route.as_ref().map(|route| route.name.as_ref());
        self.error = Some(failure.code);
        self.cut = None;
        let response = failure.into_response(request_id, route, &self.worker.clock);
        self.status = response.status().as_u16();
        let (mut parts, bytes) = response.into_parts();
        parts.headers.insert(&headers::REQUEST_ID, self.request_id.clone());
        if self.attempts > 1 {
            headers::mark_exhausted(&mut parts.headers);
        }
        let delivery = Delivery { exchange: self, attempt: None, connection: None, deadline: None };
        Response::from_parts(parts, ResponseBody::Own { bytes, _delivery: Some(delivery) })
    }

    fn rejected(&self, rejection: Rejection) -> Failure {
        if let Some(route) = &self.route {
            route.stats.rejected(rejection.by);
        }
        let detail = match (rejection.by, &self.route) {
            (Policy::Balance, Some(route)) => {
                format!("no endpoint of service `{}` is healthy", route.service.name)
            }
            _ => rejection.to_string(),
        };
        let mut failure = Failure::new(ErrorCode::of_rejection(rejection.by), detail);
        failure.retry_after = rejection.retry_after;
        failure
    }

    fn deadline_exceeded(&self) -> Failure {
        let rejection = Rejection { by: Policy::Deadline, bound: "deadline", retry_after: None };
        let mut failure = self.rejected(rejection);
        failure.detail = "the deadline of the call is over".to_owned();
        failure
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.status = StatusCode::INTERNAL_SERVER_ERROR.as_u16();
            self.cut = Some("panic");
        }
        let duration = MonotonicClock::now().saturating_since(self.started);
        let stats = match &self.route {
            Some(route) => &route.stats,
            None => &self.worker.unrouted,
        };
        stats.finished(self.status, duration);
        if self.cut == Some("client_left") {
            stats.cancelled.increment();
        }
        if let (Some(log), Some(line)) = (&self.worker.access, self.line.take()) {
            log(Access {
                request_id: self.request_id.to_str().unwrap_or_default().to_owned(),
                client: self.client,
                method: line.method,
                host: line.host,
                path: line.path,
                status: self.status,
                duration,
                route: self.route.as_ref().map(|route| route.name.to_string()),
                endpoint: line.endpoint,
                attempts: self.attempts,
                error: self.error.map(ErrorCode::code),
                cut: self.cut,
            });
        }
    }
}

/// A service's answer, and what must be kept until its body is delivered.
struct Answer {
    response: Response<Incoming>,
    connection: Connection,
    /// Not yet resolved when the head was good: the body can still break off.
    attempt: Option<(Attempt, Class)>,
    deadline: Deadline,
    exhausted: bool,
}

impl Answer {
    fn deliver(self, mut exchange: Exchange) -> Response<ResponseBody> {
        let (mut parts, incoming) = self.response.into_parts();
        exchange.status = parts.status.as_u16();
        headers::remove_hop_by_hop(&mut parts.headers);
        parts.headers.insert(&headers::REQUEST_ID, exchange.request_id.clone());
        if self.exhausted {
            headers::mark_exhausted(&mut parts.headers);
        }
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        let mut delivery = Delivery {
            exchange,
            attempt: self.attempt,
            connection: Some(self.connection),
            deadline: Some(self.deadline),
        };
        if incoming.is_end_stream() {
            delivery.complete();
        }
        Response::from_parts(parts, ResponseBody::Service(ServiceBody { incoming, delivery, timer: None }))
    }
}

/// What an answer's body holds until its last byte is delivered.
#[derive(Debug)]
pub(super) struct Delivery {
    exchange: Exchange,
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
        self.exchange.cut = None;
        if let Some((attempt, class)) = self.attempt.take() {
            if let Some(connection) = self.connection.take() {
                self.exchange.worker.pool.keep(attempt.service(), connection);
            }
            attempt.resolve(class, &self.exchange.worker.events);
        } else if let (Some(connection), Some(route)) = (self.connection.take(), &self.exchange.route) {
            self.exchange.worker.pool.keep(&route.service, connection);
        }
    }

    /// The service ended the body before its time.
    pub(super) fn broke_off(&mut self) {
        self.cut("service_broke_off", Class::Transient);
    }

    /// The deadline is over before the body is.
    pub(super) fn deadline_exceeded(&mut self) {
        if let Some(route) = &self.exchange.route {
            route.stats.rejected(Policy::Deadline);
        }
        let class = match self.deadline.map(Deadline::set_by) {
            Some(SetBy::Caller) => Class::Unjudged,
            _ => Class::Transient,
        };
        self.cut("deadline", class);
    }

    fn cut(&mut self, how: &'static str, class: Class) {
        self.exchange.cut = Some(how);
        self.connection = None;
        if let Some((attempt, _)) = self.attempt.take() {
            attempt.resolve(class, &self.exchange.worker.events);
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        // The client left in the middle of a body; the service did nothing wrong.
        if let Some((attempt, class)) = self.attempt.take() {
            attempt.resolve(class, &self.exchange.worker.events);
        }
    }
}

/// Everything before the attempts.
async fn call(exchange: &mut Exchange, mut parts: Parts, incoming: Incoming) -> Result<Answer, Failure> {
    assert!(exchange.worker.panic_path.as_deref() != Some(parts.uri.path()), "asked to panic");
    let route = find_route(exchange, &parts)?;
    exchange.route = Some(route.clone());
    let now = exchange.started;
    let marks = Marks::read(&parts.headers);
    let deadline = Deadline::new(now, route.effective.deadline.value, marks.remaining);
    let body_max = route.effective.body_max.value.map(ByteSize::bytes);
    let declared =
        parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if let (Some(max), Some(declared)) = (body_max, declared)
        && declared > max
    {
        return Err(body_too_large(max));
    }
    acquire(exchange, &route, Count::Calls, &parts.headers, now)?;
    if let Some(bulkhead) = &route.bulkhead {
        let permit = bulkhead.acquire(deadline.remaining(now)).await;
        exchange.bulkhead = Some(permit.map_err(|rejection| exchange.rejected(rejection))?);
    }
    if let Some(budget) = &route.budget
        && !marks.is_repetition
    {
        budget.deposit(now);
    }
    let client = exchange.client;
    let host = host_value(&mut parts);
    let accepts_trailers = headers::remove_hop_by_hop(&mut parts.headers);
    let passage = Passage { client, host: &host, request_id: &exchange.request_id, accepts_trailers };
    headers::write_passage(&mut parts.headers, &passage);
    let path = parts.uri.into_parts().path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));

    let has_body = !incoming.is_end_stream();
    let repeats = route.effective.retry.value.as_ref().is_some_and(|retry| retry.attempts.get() > 1);
    let body = match (has_body, body_max) {
        (false, _) => CallBody::Once(Some(incoming)),
        (true, None) if !repeats => CallBody::Once(Some(incoming)),
        (true, body_max) => {
            let replay_max = route.effective.replay_body_max.value.map_or(0, ByteSize::bytes);
            let replay_max = if repeats { replay_max } else { 0 };
            CallBody::Source(Rc::new(BodySource::new(incoming, replay_max, body_max)))
        }
    };
    let idempotent = parts.method.is_idempotent() || marks.has_idempotency_key;
    let mut call = Call {
        exchange,
        route: &route,
        deadline,
        method: parts.method,
        uri: Uri::from(path),
        headers: parts.headers,
        headers_spent: false,
        body,
        has_body,
        idempotent,
    };
    call.attempts().await
}

/// One call and its attempts.
struct Call<'a> {
    exchange: &'a mut Exchange,
    route: &'a RouteRef,
    deadline: Deadline,
    method: http::Method,
    uri: Uri,
    headers: HeaderMap,
    /// Whether the headers went out with an attempt and can not be sent again.
    headers_spent: bool,
    body: CallBody,
    has_body: bool,
    idempotent: bool,
}

enum CallBody {
    /// Sent at most once; absent when it went out.
    Once(Option<Incoming>),
    /// Watched, and perhaps replayed.
    Source(Rc<BodySource>),
}

/// How one attempt ended.
struct Ended {
    class: Class,
    retry_after: Option<Duration>,
    /// Whether the service can not have seen the request.
    unsent: bool,
    last: Last,
}

/// What is answered if this attempt stays the last.
enum Last {
    Answered(Box<Answered>),
    Failed(Failure),
}

struct Answered {
    response: Response<Incoming>,
    connection: Connection,
    attempt: Option<Attempt>,
}

impl Call<'_> {
    /// Attempts until one succeeds, none is left, or none is worth it.
    async fn attempts(&mut self) -> Result<Answer, Failure> {
        let route = self.route;
        let config = route.effective.retry.value.as_ref();
        let mut retry = config.map(Retry::new);
        let mut tried = Tried::default();
        let mut last: Option<(Class, Last)> = None;
        loop {
            let now = MonotonicClock::now();
            let begun = match self.admit(now) {
                Ok(()) => Attempt::begin(route, now, &mut tried)
                    .map_err(|rejection| self.exchange.rejected(rejection)),
                Err(failure) => Err(failure),
            };
            let attempt = match (begun, last.take()) {
                (Ok(attempt), previous) => {
                    if let Some((_, Last::Answered(previous))) = previous {
                        discard(self.exchange, route, *previous);
                    }
                    attempt
                }
                // A repetition that nobody admits leaves the call with what it had.
                (Err(_), Some((class, last))) => return self.settle(class, last, true),
                (Err(failure), None) => return Err(failure),
            };
            self.exchange.attempts += 1;
            if self.exchange.attempts > 1 {
                attempt.endpoint().stats.retries.increment();
            }
            if let Some(line) = &mut self.exchange.line {
                line.endpoint = Some(attempt.endpoint().address.to_string());
            }
            let ended = self.attempt(attempt, now).await;
            let may_repeat =
                ended.unsent || (self.idempotent && !self.headers_spent && self.body_can_be_sent_again());
            let now = MonotonicClock::now();
            let random = Ratio::from_millionths(fastrand::u32(0..=1_000_000));
            let next = match &mut retry {
                Some(retry) if may_repeat => {
                    retry.next(now, self.deadline, ended.class, ended.retry_after, random).ok()
                }
                _ => None,
            };
            let affordable = next.filter(|_| route.budget.as_ref().is_none_or(|budget| budget.withdraw(now)));
            let Some(wait) = affordable else {
                // Out of attempts or out of budget: whoever tries this again multiplies the load.
                let exhausted = ended.class.is_retriable() && (self.exchange.attempts > 1 || next.is_some());
                return self.settle(ended.class, ended.last, exhausted);
            };
            last = Some((ended.class, ended.last));
            tokio::time::sleep(wait).await;
        }
    }

    /// The limiters that count attempts.
    fn admit(&mut self, now: Instant) -> Result<(), Failure> {
        if self.deadline.is_over(now) {
            return Err(self.exchange.deadline_exceeded());
        }
        acquire(self.exchange, self.route, Count::Attempts, &self.headers, now)
    }

    fn settle(&mut self, class: Class, last: Last, exhausted: bool) -> Result<Answer, Failure> {
        match last {
            Last::Failed(failure) => Err(failure),
            Last::Answered(answered) => {
                let Answered { response, connection, attempt } = *answered;
                let attempt = attempt.map(|attempt| (attempt, class));
                Ok(Answer { response, connection, attempt, deadline: self.deadline, exhausted })
            }
        }
    }

    fn body_can_be_sent_again(&self) -> bool {
        match &self.body {
            CallBody::Once(body) => !self.has_body || body.is_some(),
            CallBody::Source(source) => source.can_replay(),
        }
    }

    /// One attempt within its limit.
    async fn attempt(&mut self, attempt: Attempt, now: Instant) -> Ended {
        let limit = self.deadline.attempt(now, self.route.effective.attempt_timeout.value);
        let sent = match limit.at {
            None => Ok(self.send(&attempt, None).await),
            Some(at) => {
                let remaining = Some(at.saturating_since(now));
                tokio::time::timeout_at(MonotonicClock::to_tokio(at), self.send(&attempt, remaining)).await
            }
        };
        let worker = Rc::clone(&self.exchange.worker);
        let failed = |attempt: Attempt, class, unsent, failure| {
            attempt.resolve(class, &worker.events);
            Ended { class, retry_after: None, unsent, last: Last::Failed(failure) }
        };
        match sent {
            Ok(Ok((response, connection))) => {
                attempt.answered(MonotonicClock::now());
                self.answered(attempt, response, connection)
            }
            Ok(Err(SendFailure::Body(BodyError::TooLarge))) => {
                let max = self.route.effective.body_max.value.map_or(0, ByteSize::bytes);
                failed(attempt, Class::Unjudged, false, body_too_large(max))
            }
            Ok(Err(SendFailure::Body(_))) => {
                let failure = Failure::new(ErrorCode::BadRequest, "the request body broke off");
                failed(attempt, Class::Unjudged, false, failure)
            }
            Ok(Err(SendFailure::Connect(error))) => {
                let detail = format!("no connection to the service: {error}");
                failed(attempt, Class::Transient, true, Failure::new(ErrorCode::ServiceUnreachable, detail))
            }
            Ok(Err(SendFailure::Exchange(error))) => {
                let detail = format!("the service gave no valid answer: {error}");
                failed(attempt, Class::Transient, false, Failure::new(ErrorCode::ServiceFailed, detail))
            }
            Err(_) if limit.by == LimitedBy::AttemptTimeout => {
                attempt.endpoint().stats.attempt_timeouts.increment();
                let detail = "an attempt took longer than its attempt_timeout";
                failed(attempt, Class::Transient, false, Failure::new(ErrorCode::AttemptTimeout, detail))
            }
            Err(_) => {
                // A hurried caller says nothing about the service.
                let class = match self.deadline.set_by() {
                    SetBy::Caller => Class::Unjudged,
                    SetBy::Us => Class::Transient,
                };
                failed(attempt, class, false, self.exchange.deadline_exceeded())
            }
        }
    }

    /// Classes an answer. One that failed resolves its attempt here; a good one when its body is through.
    fn answered(&self, attempt: Attempt, response: Response<Incoming>, connection: Connection) -> Ended {
        let mut class = Class::of_http_status(response.status().as_u16());
        let retry_after = headers::retry_after(response.headers(), &self.exchange.worker.clock);
        let marked = headers::is_exhausted(response.headers());
        let attempt = if class.is_retriable() {
            attempt.resolve(class, &self.exchange.worker.events);
            None
        } else {
            Some(attempt)
        };
        if marked && class.is_retriable() {
            // A tier further down used up its retries; ours would multiply them.
            class = Class::Permanent;
        }
        let answered = Box::new(Answered { response, connection, attempt });
        Ended { class, retry_after, unsent: false, last: Last::Answered(answered) }
    }

    /// Sends the request and waits for the head of the answer. A kept connection that its service closed
    /// before it took the request is replaced, as often as there are kept ones.
    async fn send(
        &mut self,
        attempt: &Attempt,
        remaining: Option<Duration>,
    ) -> Result<(Response<Incoming>, Connection), SendFailure> {
        let worker = Rc::clone(&self.exchange.worker);
        let (service, endpoint) = (attempt.service(), attempt.endpoint());
        let mut reuse = true;
        let mut request = None;
        loop {
            let mut connection =
                worker.pool.connect(service, endpoint, reuse).await.map_err(SendFailure::Connect)?;
            let outgoing = match request.take() {
                Some(request) => request,
                None => self.request(remaining, connection.reused),
            };
            let error = match connection.send(outgoing).await {
                Ok(response) => return Ok((response, connection)),
                Err(error) => error,
            };
            if let CallBody::Source(source) = &self.body
                && let Some(failure) = source.failure()
            {
                return Err(SendFailure::Body(failure));
            }
            // Whether this connection was closed under our hands before the service took the request.
            let closed_idle =
                connection.reused && (error.error.is_incomplete_message() || error.error.is_closed());
            match error.unsent {
                Some(unsent) if connection.reused => request = Some(unsent),
                _ if closed_idle && self.idempotent && !self.has_body && !self.headers_spent => reuse = false,
                _ => return Err(SendFailure::Exchange(error.error)),
            }
        }
    }

    /// The request as this attempt sends it. Its headers are copied only when they may be needed again.
    fn request(&mut self, remaining: Option<Duration>, reused: bool) -> Request<RequestBody> {
        let attempt = self.exchange.attempts;
        let repeats = self.route.effective.retry.value.as_ref().is_some_and(|retry| retry.attempts.get() > 1);
        let keep = self.idempotent && (repeats || (reused && !self.has_body));
        let mut headers = if keep {
            self.headers.clone()
        } else {
            self.headers_spent = true;
            std::mem::take(&mut self.headers)
        };
        headers::write_marks(&mut headers, remaining, attempt);
        let body = match &mut self.body {
            CallBody::Once(body) => body.take().map_or(RequestBody::Empty, RequestBody::Plain),
            CallBody::Source(source) => source.attempt(attempt),
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        request
    }
}

/// Why an attempt got no answer.
enum SendFailure {
    Connect(std::io::Error),
    Exchange(hyper::Error),
    Body(BodyError),
}

/// The route that wants the request, or the answer to a request that none wants.
fn find_route(exchange: &Exchange, parts: &Parts) -> Result<RouteRef, Failure> {
    let host = host(parts).ok_or_else(|| {
        Failure::new(
            ErrorCode::BadRequest,
            "a request names exactly one host, in its target or one Host header",
        )
    })?;
    let plan = exchange.worker.plan.get();
    let view = RequestView {
        host,
        path: parts.uri.path(),
        query: parts.uri.query(),
        method: &parts.method,
        headers: &parts.headers,
    };
    match plan.router.find(&view) {
        Found::Route(index) => Ok(RouteRef::new(plan, index)),
        Found::Nothing => Err(Failure::new(ErrorCode::RouteNotFound, "no route wants this host and path")),
        Found::Ambiguous => Err(Failure::new(
            ErrorCode::BadRequest,
            "the path can be read in more than one way: dot segments, backslashes or malformed escapes",
        )),
        Found::OtherMethods(methods) => {
            let methods: Vec<_> = methods.iter().map(http::Method::as_str).collect();
            let allow = methods.join(", ");
            let detail = format!("this path takes {allow}");
            let mut failure = Failure::new(ErrorCode::MethodNotAllowed, detail);
            failure.allow = HeaderValue::try_from(allow).ok();
            debug_assert!(failure.allow.is_some(), "methods are valid in {ALLOW}");
            Err(failure)
        }
    }
}

/// The host without its port. The request's target wins over the Host header (RFC 9112, section 3.2.2).
fn host(parts: &Parts) -> Option<&str> {
    let mut values = parts.headers.get_all(HOST).iter();
    let header = values.next();
    if values.next().is_some() {
        return None;
    }
    if let Some(host) = parts.uri.host() {
        return Some(host);
    }
    let text = match header {
        Some(value) => value.to_str().ok()?,
        // HTTP/1.0 knows no Host header.
        None if parts.version == Version::HTTP_10 => "",
        None => return None,
    };
    if let Some(end) = text.strip_prefix('[').and_then(|rest| rest.find(']')) {
        return Some(&text[..end + 2]);
    }
    let name = text.split_once(':').map_or(text, |(name, _)| name);
    let clean = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte));
    clean.then_some(name)
}

/// The Host header to pass on, with its port.
fn host_value(parts: &mut Parts) -> HeaderValue {
    let target = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let header = parts.headers.remove(HOST);
    target.or(header).unwrap_or_else(|| HeaderValue::from_static(""))
}

/// Asks the route's limiters that count `what`. A refused call has taken nothing from the limiters asked
/// after the one that refused.
fn acquire(
    exchange: &Exchange,
    route: &RouteRef,
    what: Count,
    headers: &HeaderMap,
    now: Instant,
) -> Result<(), Failure> {
    for limiter in route.limiters.iter().filter(|limiter| limiter.limiter.config().count == what) {
        let quota = match &limiter.by {
            LimitKey::All => limiter.limiter.try_acquire((), now, 1),
            LimitKey::ClientAddress => limiter.limiter.try_acquire(exchange.client, now, 1),
            LimitKey::Header(name) => {
                limiter.limiter.try_acquire(headers.get(name).map(HeaderValue::as_bytes), now, 1)
            }
        };
        quota.map_err(|rejection| exchange.rejected(rejection))?;
    }
    Ok(())
}

fn body_too_large(max: u64) -> Failure {
    Failure::new(ErrorCode::BodyTooLarge, format!("the body is longer than body_max, {max} bytes"))
}

/// Lets go of an answer that will not be delivered. A short body is read to its end, so that its
/// connection can be kept.
fn discard(exchange: &Exchange, route: &RouteRef, answered: Answered) {
    const WORTH_READING: u64 = 16 * 1024;
    let Answered { response, connection, .. } = answered;
    let body = response.into_body();
    if body.is_end_stream() {
        exchange.worker.pool.keep(&route.service, connection);
    } else if body.size_hint().upper().is_some_and(|bytes| bytes <= WORTH_READING) {
        let (worker, route) = (Rc::clone(&exchange.worker), route.clone());
        tokio::task::spawn_local(async move {
            let read = http_body_util::BodyExt::collect(body);
            if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_millis(100), read).await {
                worker.pool.keep(&route.service, connection);
            }
        });
    }
}

/// The answer to a request whose handling panicked; the exchange accounted for itself when it unwound.
pub(super) fn panicked(worker: &Worker) -> Response<ResponseBody> {
    let id = Id::random().to_string();
    let failure = Failure::new(ErrorCode::InternalError, "the gateway failed while it handled this request");
    failure
        .into_response(&id, None, &worker.clock)
        .map(|bytes: Bytes| ResponseBody::Own { bytes, _delivery: None })
}
