//! The attempts of a call: retry with its budget, choice of endpoint, circuit breaker, limiters that count
//! attempts, attempt timeout.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use intertie_core::quantity::{ByteSize, Ratio};
use intertie_core::rejection::{Policy, Rejection};
use intertie_resilience::MonotonicClock;
use intertie_resilience::deadline::{AttemptLimit, LimitedBy};
use intertie_resilience::rate_limiter::Count;
use intertie_resilience::retry::Retry;

use super::answer::{ErrorCode, Failure};
use super::attempt::{Attempt, Tried};
use super::body::{BodyError, RequestBody};
use super::call::{Call, acquire, body_too_large};
use super::exchange::{Answer, Exchange};
use super::headers;
use super::observed::Refusal;
use super::pool::{Connection, open};
use super::trace;
use super::worker::RouteRef;

#[cfg(test)]
mod tests;

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

/// What an attempt without an answer means.
struct Missed {
    /// For the retry.
    class: Class,
    /// For the breaker and the outlier record.
    evidence: Class,
    failure: Failure,
}

impl Missed {
    fn new(class: Class, failure: Failure) -> Self {
        Self { class, evidence: class, failure }
    }
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

impl Call {
    /// Attempts until one succeeds, none is left, or none is worth it. The first begins at `now`.
    pub(super) async fn attempts(
        &mut self,
        exchange: &mut Exchange,
        now: Instant,
    ) -> Result<Answer, Failure> {
        let route = self.route.clone();
        let mut retry = route.effective.retry.value.as_ref().map(Retry::new);
        let mut tried = Tried::default();
        let mut ended = self.attempt(exchange, &mut tried, now).await?;
        loop {
            // Out of attempts or out of budget: whoever tries this again multiplies the load.
            let repeated = exchange.attempts > 1;
            let mut exhausted = repeated && !matches!(ended.class, Class::Success | Class::Permanent);
            let mut affordable = None;
            if let Some(retry) = &mut retry
                && ended.class.is_retriable()
                && self.may_repeat(&ended)
            {
                let now = MonotonicClock::now();
                let random = Ratio::from_millionths(fastrand::u32(0..=1_000_000));
                let next = retry.next(now, self.deadline, ended.class, ended.retry_after, random).ok();
                let possible = next.filter(|wait| Attempt::is_possible(&route, now + *wait));
                exhausted |= possible.is_some();
                affordable = possible.and_then(|wait| match &route.budget {
                    Some(budget) => Some((wait, Some(budget.withdraw(now)?))),
                    None => Some((wait, None)),
                });
            }
            // In flight until the attempt ended.
            let Some((wait, _repetition)) = affordable else { return self.settle(ended, exhausted) };
            tokio::time::sleep(wait).await;
            // Meanwhile the attempt before may have read on in the client's body.
            if !self.may_repeat(&ended) {
                return self.settle(ended, repeated);
            }
            match self.attempt(exchange, &mut tried, MonotonicClock::now()).await {
                Ok(newer) => discard(exchange, &route, std::mem::replace(&mut ended, newer)),
                // A repetition that nobody admits leaves the call with what it had.
                Err(_) => return self.settle(ended, exchange.attempts > 1),
            }
        }
    }

    /// Whether the request may be sent again and can be.
    fn may_repeat(&self, ended: &Ended) -> bool {
        let whole = !self.headers_spent && self.body.as_ref().is_none_or(|body| body.can_replay());
        whole && (ended.unsent || self.idempotent)
    }

    fn settle(&self, ended: Ended, exhausted: bool) -> Result<Answer, Failure> {
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
    /// When nobody admits it: the deadline, every breaker, a limiter.
    async fn attempt(
        &mut self,
        exchange: &mut Exchange,
        tried: &mut Tried,
        now: Instant,
    ) -> Result<Ended, Failure> {
        if self.deadline.is_over(now) {
            return Err(Failure::deadline_exceeded());
        }
        let attempt = Attempt::begin(&self.route, now, tried)
            .map_err(|rejection| unavailable(&self.route, rejection))?;
        // After the breaker: an attempt that is not made must not use up a quota that is billed.
        if let Err(failure) = acquire(exchange, &self.route, Count::Attempts, &self.headers, now) {
            attempt.call_off();
            return Err(failure);
        }
        exchange.attempt_begins(attempt.endpoint(), now);
        let limit = self.deadline.attempt(now, self.route.effective.attempt_timeout.value);
        let remaining = limit.at.map(|at| at.saturating_since(now));
        let sent = {
            // Pinned where it stands: moved into its timeout, it would be copied.
            let sending = pin!(self.send(exchange, &attempt, now, remaining));
            match limit.at {
                None => Ok(sending.await),
                Some(at) => tokio::time::timeout_at(MonotonicClock::to_tokio(at), sending).await,
            }
        };
        let now = MonotonicClock::now();
        let unsent = matches!(sent, Ok(Err(SendFailure::Unsent(_))));
        let missed = match sent {
            Ok(Ok((response, connection))) if response.status() != StatusCode::SWITCHING_PROTOCOLS => {
                return Ok(answered(exchange, attempt, response, connection, now));
            }
            Ok(Ok(_)) => {
                let detail = "the service switched protocols unasked";
                Missed::new(Class::Permanent, Failure::new(ErrorCode::ServiceFailed, detail))
            }
            Ok(Err(failure)) => self.not_sent(exchange, failure),
            Err(_) => self.timed_out(&attempt, limit),
        };
        exchange.attempt_ended(now, missed.evidence, attempt.elapsed(now), Err(missed.failure.code));
        attempt.resolve(missed.evidence, now, &exchange.worker.events);
        Ok(Ended { class: missed.class, retry_after: None, unsent, last: Last::Failed(missed.failure) })
    }

    /// What a failure to get an answer means.
    fn not_sent(&self, exchange: &Exchange, failure: SendFailure) -> Missed {
        match failure {
            SendFailure::Unsent(detail) => {
                let detail = format!("no connection to the service: {detail}");
                Missed::new(Class::Transient, Failure::new(ErrorCode::ServiceUnreachable, detail))
            }
            SendFailure::Exchange { detail, closed_idle } => {
                let detail = format!("the service gave no valid answer: {detail}");
                let evidence = if closed_idle { Class::Unjudged } else { Class::Transient };
                let failure = Failure::new(ErrorCode::ServiceFailed, detail);
                Missed { evidence, ..Missed::new(Class::Transient, failure) }
            }
            SendFailure::Body(BodyError::TooLarge) => {
                let max = self.route.effective.body_max.value.map_or(0, ByteSize::bytes);
                Missed::new(Class::Unjudged, body_too_large(max))
            }
            SendFailure::Body(_) => {
                let failure = match exchange.client.refusal() {
                    Some(refusal) => Failure::refused(refusal.violation, &exchange.worker.client_limits),
                    None => Failure::new(ErrorCode::BadRequest, "the request body broke off"),
                };
                Missed::new(Class::Unjudged, failure)
            }
        }
    }

    /// What it means that an attempt ran into its limit: it is the client's doing, the deadline's, or the
    /// service's.
    fn timed_out(&self, attempt: &Attempt, limit: AttemptLimit) -> Missed {
        if self.body.as_ref().is_some_and(|body| body.waits_for_client()) {
            let detail = "the request body did not come in time";
            return Missed::new(Class::Unjudged, Failure::new(ErrorCode::RequestTimeout, detail));
        }
        let evidence = if limit.judges { Class::Transient } else { Class::Unjudged };
        let missed = match limit.by {
            LimitedBy::AttemptTimeout => {
                attempt.endpoint().stats.attempt_timeouts.increment();
                let detail = "an attempt took longer than its attempt_timeout";
                Missed::new(Class::Transient, Failure::new(ErrorCode::AttemptTimeout, detail))
            }
            LimitedBy::Deadline => Missed::new(Class::Unjudged, Failure::deadline_exceeded()),
        };
        Missed { evidence, ..missed }
    }

    /// Sends the request and waits for the head of the answer. A kept connection that its service closed
    /// before it took the request is replaced, as often as there are kept ones.
    async fn send(
        &mut self,
        exchange: &Exchange,
        attempt: &Attempt,
        now: Instant,
        remaining: Option<Duration>,
    ) -> Result<(Response<Incoming>, Connection), SendFailure> {
        let pool = &exchange.worker.pool;
        let (service, endpoint) = (attempt.service(), attempt.endpoint());
        let mut reuse = true;
        let mut request = None;
        loop {
            let kept = if reuse { pool.take(service, endpoint, now) } else { None };
            let mut connection = match kept {
                Some(kept) => kept,
                // In a box, since it is rare and large.
                None => Box::pin(open(&exchange.worker, service, endpoint)).await.map_err(|error| {
                    self.restore(request.take());
                    SendFailure::Unsent(error.to_string())
                })?,
            };
            let outgoing = match request.take() {
                Some(request) => request,
                None => self.request(exchange, remaining, connection.reused),
            };
            let mut error = match connection.send(outgoing).await {
                Ok(response) => return Ok((response, connection)),
                Err(error) => error,
            };
            if let Some(failure) = self.body.as_ref().and_then(|body| body.failure()) {
                return Err(SendFailure::Body(failure));
            }
            let unsent = error.take_message();
            let error = error.into_error();
            if let Some(Refusal { violation, .. }) = connection.refusal().filter(|_| unsent.is_none()) {
                return Err(SendFailure::Exchange { detail: violation.to_string(), closed_idle: false });
            }
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

    /// The request as the attempt under way sends it. Its headers are copied only when they may be needed
    /// again.
    fn request(
        &mut self,
        exchange: &Exchange,
        remaining: Option<Duration>,
        reused: bool,
    ) -> Request<RequestBody> {
        let number = exchange.attempts;
        debug_assert!(!self.headers_spent, "asked by `may_repeat`");
        let keep = self.idempotent && (self.route.repeats() || (reused && self.body.is_none()));
        let mut headers = if keep {
            self.headers.clone()
        } else {
            self.headers_spent = true;
            std::mem::take(&mut self.headers)
        };
        headers::write_marks(&mut headers, self.present, remaining, number);
        if let Some(attempt) = exchange.attempt_trace() {
            trace::write(&mut headers, attempt);
        }
        let body = self.body.as_ref().map_or(RequestBody::Empty, |body| body.attempt(number));
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        request
    }
}

/// An attempt with an answer. One that failed is resolved here; a good one when its body is through.
fn answered(
    exchange: &mut Exchange,
    mut attempt: Attempt,
    response: Response<Incoming>,
    connection: Connection,
    now: Instant,
) -> Ended {
    let mut class = Class::of_http_status(response.status().as_u16());
    attempt.answered(now, class);
    exchange.attempt_ended(now, class, attempt.elapsed(now), Ok(response.status()));
    let mut unresolved = Some(attempt);
    let mut retry_after = None;
    if class.is_retriable() {
        retry_after = headers::retry_after(response.headers(), &exchange.worker.clock);
        if let Some(attempt) = unresolved.take() {
            attempt.resolve_with(class, retry_after, now, &exchange.worker.events);
        }
        if headers::is_exhausted(response.headers()) {
            // A tier further down used up its retries; ours would multiply them.
            class = Class::Permanent;
        }
    }
    let answered = Box::new(Answered { response, connection, attempt: unresolved });
    Ended { class, retry_after, unsent: false, last: Last::Answered(answered) }
}

/// Lets go of an answer that will not be delivered. A short body is read to its end, so that its connection
/// can be kept.
fn discard(exchange: &Exchange, route: &RouteRef, ended: Ended) {
    const WORTH_READING: u64 = 16 * 1024;
    let Last::Answered(answered) = ended.last else { return };
    let Answered { response, connection, .. } = *answered;
    let (worker, route) = (Rc::clone(&exchange.worker), route.clone());
    let body = response.into_body();
    if body.is_end_stream() {
        worker.pool.keep(&route.service, connection, MonotonicClock::now());
    } else if body.size_hint().upper().is_some_and(|bytes| bytes <= WORTH_READING) {
        tokio::task::spawn_local(async move {
            let read = http_body_util::BodyExt::collect(body);
            if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_millis(100), read).await {
                worker.pool.keep(&route.service, connection, MonotonicClock::now());
            }
        });
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
