//! The attempts of a call: retry with its budget, choice of endpoint, circuit breaker, attempt timeout.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use hyper::body::Incoming;
use intertie_core::failure::Class;
use intertie_core::quantity::{ByteSize, Ratio};
use intertie_core::rejection::{Policy, Rejection};
use intertie_resilience::MonotonicClock;
use intertie_resilience::deadline::{AttemptLimit, Deadline, LimitedBy};
use intertie_resilience::rate_limiter::Count;
use intertie_resilience::retry::Retry;

use super::answer::{ErrorCode, Failure};
use super::attempt::{Attempt, Tried};
use super::body::{BodyError, BodySource, RequestBody};
use super::call::{acquire, body_too_large};
use super::exchange::{Answer, Exchange};
use super::headers;
use super::pool::{Connection, SendError};
use super::worker::RouteRef;

/// One call and its attempts.
pub(super) struct Call<'a> {
    exchange: &'a mut Exchange,
    route: &'a RouteRef,
    deadline: Deadline,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    /// Whether the headers went out with an attempt and can not be sent again.
    headers_spent: bool,
    body: Option<Rc<BodySource>>,
    idempotent: bool,
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
    /// Not yet resolved when the head was good.
    attempt: Option<Attempt>,
}

/// Why an attempt got no answer.
enum SendFailure {
    /// No connection was to be had that took a byte of the request.
    Unsent(String),
    /// The service may have seen the request.
    Exchange {
        detail: String,
        /// A kept connection failed before a head came: the service closed it, which is its right.
        closed_idle: bool,
    },
    /// The request's own body ended before its time.
    Body(BodyError),
}

impl<'a> Call<'a> {
    #[expect(clippy::too_many_arguments, reason = "the parts of a request that intake has prepared")]
    pub(super) fn new(
        exchange: &'a mut Exchange,
        route: &'a RouteRef,
        deadline: Deadline,
        method: Method,
        uri: Uri,
        headers: HeaderMap,
        body: Option<Rc<BodySource>>,
        idempotent: bool,
    ) -> Self {
        Self { exchange, route, deadline, method, uri, headers, headers_spent: false, body, idempotent }
    }

    /// Attempts until one succeeds, none is left, or none is worth it.
    pub(super) async fn run(mut self) -> Result<Answer, Failure> {
        let route = self.route;
        let mut retry = route.effective.retry.value.as_ref().map(Retry::new);
        let mut tried = Tried::default();
        let mut ended = self.attempt(&mut tried).await?;
        loop {
            let now = MonotonicClock::now();
            let random = Ratio::from_millionths(fastrand::u32(0..=1_000_000));
            let next = match &mut retry {
                Some(retry) if self.may_repeat(&ended) => {
                    retry.next(now, self.deadline, ended.class, ended.retry_after, random).ok()
                }
                _ => None,
            };
            let possible = next.filter(|wait| Attempt::is_possible(route, now + *wait));
            let affordable =
                possible.filter(|_| route.budget.as_ref().is_none_or(|budget| budget.withdraw(now)));
            let Some(wait) = affordable else {
                // Out of attempts or out of budget: whoever tries this again multiplies the load.
                let failed = !matches!(ended.class, Class::Success | Class::Permanent);
                let exhausted = failed && (self.exchange.attempts > 1 || possible.is_some());
                return self.settle(ended, exhausted);
            };
            tokio::time::sleep(wait).await;
            // Meanwhile the attempt before may have read on in the client's body.
            if !self.may_repeat(&ended) {
                let exhausted = self.exchange.attempts > 1;
                return self.settle(ended, exhausted);
            }
            match self.attempt(&mut tried).await {
                Ok(newer) => self.discard(std::mem::replace(&mut ended, newer)),
                // A repetition that nobody admits leaves the call with what it had.
                Err(_) => {
                    let exhausted = self.exchange.attempts > 1;
                    return self.settle(ended, exhausted);
                }
            }
        }
    }

    /// Whether the request may be sent again and can be.
    fn may_repeat(&self, ended: &Ended) -> bool {
        let whole = !self.headers_spent && self.body.as_ref().is_none_or(|body| body.can_replay());
        whole && (ended.unsent || self.idempotent)
    }

    fn settle(&mut self, ended: Ended, exhausted: bool) -> Result<Answer, Failure> {
        match ended.last {
            Last::Failed(failure) => Err(Failure { exhausted, ..failure }),
            Last::Answered(answered) => {
                let Answered { response, connection, attempt } = *answered;
                let attempt = attempt.map(|attempt| (attempt, ended.class));
                Ok(Answer { response, connection, attempt, deadline: self.deadline, exhausted })
            }
        }
    }

    /// One attempt within its limit.
    ///
    /// # Errors
    /// When nobody admits it: the deadline, a limiter, every breaker.
    async fn attempt(&mut self, tried: &mut Tried) -> Result<Ended, Failure> {
        let now = MonotonicClock::now();
        if self.deadline.is_over(now) {
            return Err(Failure::deadline_exceeded());
        }
        acquire(self.exchange, self.route, Count::Attempts, &self.headers, now)?;
        let mut attempt =
            Attempt::begin(self.route, now, tried).map_err(|rejection| unavailable(self.route, rejection))?;
        self.exchange.attempt_begins(attempt.endpoint());
        let limit = self.deadline.attempt(now, self.route.effective.attempt_timeout.value);
        let sent = match limit.at {
            None => Ok(self.send(&attempt, None).await),
            Some(at) => {
                let remaining = Some(at.saturating_since(now));
                tokio::time::timeout_at(MonotonicClock::to_tokio(at), self.send(&attempt, remaining)).await
            }
        };
        Ok(match sent {
            Ok(Ok((response, connection))) if response.status() != StatusCode::SWITCHING_PROTOCOLS => {
                let class = Class::of_http_status(response.status().as_u16());
                attempt.answered(MonotonicClock::now(), class);
                self.answered(attempt, class, response, connection)
            }
            Ok(Ok(_)) => {
                let failure =
                    Failure::new(ErrorCode::ServiceFailed, "the service switched protocols unasked");
                self.failed(attempt, Class::Permanent, Class::Permanent, failure)
            }
            Ok(Err(SendFailure::Unsent(detail))) => {
                let detail = format!("no connection to the service: {detail}");
                let failure = Failure::new(ErrorCode::ServiceUnreachable, detail);
                Ended { unsent: true, ..self.failed(attempt, Class::Transient, Class::Transient, failure) }
            }
            Ok(Err(SendFailure::Exchange { detail, closed_idle })) => {
                let failure = Failure::new(
                    ErrorCode::ServiceFailed,
                    format!("the service gave no valid answer: {detail}"),
                );
                let evidence = if closed_idle { Class::Unjudged } else { Class::Transient };
                self.failed(attempt, Class::Transient, evidence, failure)
            }
            Ok(Err(SendFailure::Body(BodyError::TooLarge))) => {
                let max = self.route.effective.body_max.value.map_or(0, ByteSize::bytes);
                self.failed(attempt, Class::Unjudged, Class::Unjudged, body_too_large(max))
            }
            Ok(Err(SendFailure::Body(_))) => {
                let failure = Failure::new(ErrorCode::BadRequest, "the request body broke off");
                self.failed(attempt, Class::Unjudged, Class::Unjudged, failure)
            }
            Err(_) => self.timed_out(attempt, limit),
        })
    }

    /// An attempt that ran into its limit: the client's doing, the deadline's, or the service's.
    fn timed_out(&self, attempt: Attempt, limit: AttemptLimit) -> Ended {
        if self.body.as_ref().is_some_and(|body| body.waits_for_client()) {
            let failure = Failure::new(ErrorCode::RequestTimeout, "the request body did not come in time");
            return self.failed(attempt, Class::Unjudged, Class::Unjudged, failure);
        }
        let evidence = if limit.judges { Class::Transient } else { Class::Unjudged };
        match limit.by {
            LimitedBy::AttemptTimeout => {
                attempt.endpoint().stats.attempt_timeouts.increment();
                let detail = "an attempt took longer than its attempt_timeout";
                self.failed(
                    attempt,
                    Class::Transient,
                    evidence,
                    Failure::new(ErrorCode::AttemptTimeout, detail),
                )
            }
            LimitedBy::Deadline => {
                self.failed(attempt, Class::Unjudged, evidence, Failure::deadline_exceeded())
            }
        }
    }

    /// An attempt without an answer: `class` for the retry, `evidence` for breaker and outlier record.
    fn failed(&self, attempt: Attempt, class: Class, evidence: Class, failure: Failure) -> Ended {
        attempt.resolve(evidence, &self.exchange.worker.events);
        Ended { class, retry_after: None, unsent: false, last: Last::Failed(failure) }
    }

    /// An attempt with an answer. One that failed is resolved here; a good one when its body is through.
    fn answered(
        &self,
        attempt: Attempt,
        mut class: Class,
        response: Response<Incoming>,
        connection: Connection,
    ) -> Ended {
        let retry_after = headers::retry_after(response.headers(), &self.exchange.worker.clock);
        let mut unresolved = Some(attempt);
        if class.is_retriable() {
            if let Some(attempt) = unresolved.take() {
                attempt.resolve(class, &self.exchange.worker.events);
            }
            if headers::is_exhausted(response.headers()) {
                // A tier further down used up its retries; ours would multiply them.
                class = Class::Permanent;
            }
        }
        let answered = Box::new(Answered { response, connection, attempt: unresolved });
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
            let connected = worker.pool.connect(service, endpoint, reuse).await;
            let mut connection = connected.map_err(|error| {
                self.restore(request.take());
                SendFailure::Unsent(error.to_string())
            })?;
            let outgoing = match request.take() {
                Some(request) => request,
                None => self.request(remaining, connection.reused),
            };
            let error = match connection.send(outgoing).await {
                Ok(response) => return Ok((response, connection)),
                Err(error) => error,
            };
            if let Some(failure) = self.body.as_ref().and_then(|body| body.failure()) {
                return Err(SendFailure::Body(failure));
            }
            let SendError { error, unsent } = error;
            let closed_idle = connection.reused && was_closed(&error);
            match unsent {
                Some(unsent) if connection.reused => request = Some(unsent),
                Some(unsent) => {
                    self.restore(Some(unsent));
                    return Err(SendFailure::Unsent(error.to_string()));
                }
                None if closed_idle && self.idempotent && self.body.is_none() && !self.headers_spent => {
                    endpoint.stats.resends.increment();
                    reuse = false;
                }
                None => return Err(SendFailure::Exchange { detail: error.to_string(), closed_idle }),
            }
        }
    }

    /// Takes back a request of which not a byte was sent, so that another attempt can send it.
    fn restore(&mut self, unsent: Option<Request<RequestBody>>) {
        let Some(unsent) = unsent else { return };
        if self.headers_spent {
            self.headers = unsent.into_parts().0.headers;
            self.headers_spent = false;
        }
    }

    /// The request as this attempt sends it. Its headers are copied only when they may be needed again.
    fn request(&mut self, remaining: Option<Duration>, reused: bool) -> Request<RequestBody> {
        let attempt = self.exchange.attempts;
        let keep = self.idempotent && (self.route.repeats() || (reused && self.body.is_none()));
        let mut headers = if keep {
            self.headers.clone()
        } else {
            self.headers_spent = true;
            std::mem::take(&mut self.headers)
        };
        headers::write_marks(&mut headers, remaining, attempt);
        let body = self.body.as_ref().map_or(RequestBody::Empty, |body| body.attempt(attempt));
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        request
    }

    /// Lets go of an answer that will not be delivered. A short body is read to its end, so that its
    /// connection can be kept.
    fn discard(&self, ended: Ended) {
        const WORTH_READING: u64 = 16 * 1024;
        let Last::Answered(answered) = ended.last else { return };
        let Answered { response, connection, .. } = *answered;
        let (worker, route) = (Rc::clone(&self.exchange.worker), self.route.clone());
        let body = response.into_body();
        if body.is_end_stream() {
            worker.pool.keep(&route.service, connection);
        } else if body.size_hint().upper().is_some_and(|bytes| bytes <= WORTH_READING) {
            tokio::task::spawn_local(async move {
                let read = http_body_util::BodyExt::collect(body);
                if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_millis(100), read).await {
                    worker.pool.keep(&route.service, connection);
                }
            });
        }
    }
}

/// Whether an error says that the other side closed or reset the connection.
fn was_closed(error: &hyper::Error) -> bool {
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return true;
    }
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|source| {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        matches!(source.kind(), ConnectionReset | BrokenPipe | ConnectionAborted)
    })
}

/// No endpoint can take the call.
fn unavailable(route: &RouteRef, rejection: Rejection) -> Failure {
    let mut failure = Failure::rejected(rejection);
    if rejection.by == Policy::Balance {
        failure.detail = format!("no endpoint of service `{}` can be used", route.service.name);
    }
    failure
}
