//! The attempts of a call: retry with its budget, choice of endpoint, circuit breaker, limiters that count
//! attempts, attempt timeout.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::{Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use intertie_core::quantity::{ByteSize, Ratio};
use intertie_core::rejection::{Policy, Rejection};
use intertie_resilience::MonotonicClock;
use intertie_resilience::deadline::{AttemptLimit, LimitedBy};
use intertie_resilience::pipeline::http::{grpc_verdict, verdict};
use intertie_resilience::rate_limiter::Count;
use intertie_resilience::retry::Retry;

use super::answer::Failure;
use super::attempt::{Attempt, Tried};
use super::body::BodyError;
use super::call::{Call, acquire, body_too_large};
use super::error_code::ErrorCode;
use super::exchange::{Answer, Exchange, Settled};
use super::pool::Connection;
use super::proxy_error::ProxyError;
use super::send::SendFailure;
use super::tunnel::End;
use super::upgraded::Granted;
use super::worker::RouteRef;

#[cfg(test)]
mod tests;
mod tunnel;

/// How one attempt ended.
struct Ended {
    class: Class,
    retry_after: Option<Duration>,
    /// Whether the service can not have seen the request, or says that it has not acted on it.
    unprocessed: bool,
    last: Last,
}

/// What is answered if this attempt stays the last.
enum Last {
    Answered(Box<Answered>),
    /// A tunnel leads to the service.
    Connected(Box<End>, Attempt),
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

    /// Ends the attempt with it.
    fn end(self, exchange: &mut Exchange, attempt: Attempt, unprocessed: bool, now: Instant) -> Ended {
        let Self { class, evidence, failure } = self;
        exchange.attempt_ended(now, evidence, attempt.elapsed(now), Err(failure.code));
        attempt.resolve(evidence, now, &exchange.worker.events);
        Ended { class, retry_after: None, unprocessed, last: Last::Failed(failure) }
    }
}

impl Call {
    /// Attempts until one succeeds, none is left, or none is worth it. The first begins at `now`.
    pub(super) async fn attempts(
        &mut self,
        exchange: &mut Exchange,
        now: Instant,
    ) -> Result<Settled, Failure> {
        let mut tried = Tried::default();
        let ended = self.attempt(exchange, &mut tried, now).await?;
        if self.route.repeats() && ended.class.is_retriable() && self.may_repeat(&ended) {
            // In a box, since it is rare and large.
            return Box::pin(self.repeat(exchange, tried, ended)).await;
        }
        self.settle(ended, false)
    }

    /// Attempts again after one that `ended`, as often as retry and budget allow.
    async fn repeat(
        &mut self,
        exchange: &mut Exchange,
        mut tried: Tried,
        mut ended: Ended,
    ) -> Result<Settled, Failure> {
        let route = self.route.clone();
        let mut retry = route.settings.retry.as_deref().map(Retry::new);
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
        whole && (ended.unprocessed || self.idempotent)
    }

    fn settle(&mut self, ended: Ended, exhausted: bool) -> Result<Settled, Failure> {
        let mut stream = || self.connect.take().and_then(|connect| connect.stream);
        match ended.last {
            Last::Failed(failure) => Err(Failure { exhausted, ..failure }),
            Last::Connected(service, attempt) => {
                let granted = Granted::tunnel(service, (attempt, ended.class), stream());
                Ok(Settled::Granted(Box::new(granted)))
            }
            Last::Answered(answered) => {
                let Answered { response, connection, attempt } = *answered;
                let attempt = attempt.map(|attempt| (attempt, ended.class));
                if response.status() == StatusCode::SWITCHING_PROTOCOLS
                    && let Some(upgrade) = self.upgrade.take()
                {
                    let granted = Granted::switch(response, connection, upgrade, attempt, stream());
                    return Ok(Settled::Granted(Box::new(granted)));
                }
                let deadline = self.deadline;
                Ok(Settled::Answered(Answer { response, connection, attempt, deadline, exhausted }))
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
        let limit = self.deadline.attempt(now, self.route.settings.attempt_timeout);
        if self.asks_tunnel() {
            // In a box, or each call would have room for what few do.
            return Ok(Box::pin(self.tunnel(exchange, attempt, limit)).await);
        }
        let remaining = limit.at.map(|at| at.saturating_since(now));
        self.connects = false;
        let sent = {
            // Pinned where it stands: moved into its timeout, it would be copied.
            let sending = pin!(self.send(exchange, &attempt, now, remaining));
            match limit.at {
                None => Ok(sending.await),
                Some(at) => tokio::time::timeout_at(MonotonicClock::to_tokio(at), sending).await,
            }
        };
        if let (Ok(Ok(_)), Some(body)) = (&sent, &self.body) {
            body.answered();
        }
        let (begun, now) = (now, MonotonicClock::now());
        let unprocessed = match &sent {
            Ok(Err(SendFailure::Unsent(..) | SendFailure::Exhausted(_))) => true,
            Ok(Err(SendFailure::Reset(reset))) if reset.unprocessed => {
                attempt.endpoint().stats.unprocessed.increment();
                true
            }
            _ => false,
        };
        let missed = match sent {
            Ok(Ok((response, connection))) => match self.switch_in_order(&response, &connection) {
                Ok(()) => return Ok(answered(exchange, attempt, response, connection, now)),
                Err(missed) => missed,
            },
            Ok(Err(failure)) => self.not_sent(exchange, failure),
            Err(_) => {
                if self.route.service.transport.may_multiplex() {
                    exchange.worker.pool.suspect(attempt.endpoint(), begun);
                }
                self.timed_out(&attempt, limit)
            }
        };
        Ok(missed.end(exchange, attempt, unprocessed, now))
    }

    /// Whether an answer switches to another protocol only as the client asked for.
    fn switch_in_order(&self, response: &Response<Incoming>, connection: &Connection) -> Result<(), Missed> {
        let failed = |detail: String, error| {
            let failure = Failure::new(ErrorCode::ServiceFailed, detail).because(error);
            Missed::new(Class::Permanent, failure)
        };
        // The client had a part in it: whoever may send any key must not open a breaker with one, nor close it.
        let unfit = |how: &str, error| {
            let detail = format!("the service switched protocols {how}");
            Missed { evidence: Class::Unjudged, ..failed(detail, error) }
        };
        match (response.status(), &self.upgrade) {
            (StatusCode::SWITCHING_PROTOCOLS, _) if connection.is_multiplexed() => {
                Err(unfit("in HTTP/2", ProxyError::HttpProtocolError))
            }
            (StatusCode::SWITCHING_PROTOCOLS, None) => Err(unfit("unasked", ProxyError::HttpProtocolError)),
            (StatusCode::SWITCHING_PROTOCOLS, Some(upgrade)) => {
                let granted = upgrade.granted(response.headers());
                granted.map_err(|how| unfit(how, ProxyError::HttpUpgradeFailed))
            }
            // A client of HTTP/2 would take the success for the switch. To the breaker it is one: an answer.
            (status, _) if status.is_success() && self.connect.is_some() => {
                let detail = "the service answered without switching protocols";
                Err(failed(detail.to_owned(), ProxyError::HttpUpgradeFailed))
            }
            _ => Ok(()),
        }
    }

    /// What a failure to get an answer means.
    fn not_sent(&self, exchange: &mut Exchange, failure: SendFailure) -> Missed {
        match failure {
            SendFailure::Unsent(detail, error) => {
                let detail = format!("no connection to the service: {detail}");
                let failure = Failure::new(ErrorCode::of_unopened(error), detail).because(error);
                Missed::new(Class::Transient, failure)
            }
            SendFailure::NoUpgrade(error) => {
                let detail = format!("no connection to the service: {error}");
                let failure = Failure::new(ErrorCode::ServiceFailed, detail).because(error.proxy_error());
                // It would be the same the next time; and what else the service is asked for it may well answer.
                Missed { evidence: Class::Unjudged, ..Missed::new(Class::Permanent, failure) }
            }
            SendFailure::Exhausted(error) => {
                let detail = format!("the gateway can open no connection to the service: {error}");
                let failure =
                    Failure::new(ErrorCode::ServiceUnreachable, detail).because(error.proxy_error());
                // No endpoint is to blame: breakers that open now would outlast what ails us.
                Missed { evidence: Class::Unjudged, ..Missed::new(Class::Transient, failure) }
            }
            SendFailure::Reset(reset) => {
                exchange.http2_error = Some(reset.name());
                let what = if reset.unprocessed { "did not take the request" } else { "gave no answer" };
                let detail = format!("the service {what}: {}", reset.name());
                let evidence = if reset.in_order { Class::Unjudged } else { reset.class() };
                let failure = Failure::new(ErrorCode::ServiceFailed, detail).because(reset.proxy_error());
                Missed { evidence, ..Missed::new(reset.class(), failure) }
            }
            SendFailure::Exchange { detail, error, closed_idle } => {
                let detail = format!("the service gave no valid answer: {detail}");
                let evidence = if closed_idle { Class::Unjudged } else { Class::Transient };
                let failure = Failure::new(ErrorCode::of_unanswered(error), detail).because(error);
                Missed { evidence, ..Missed::new(Class::Transient, failure) }
            }
            SendFailure::Body(BodyError::TooLarge) => {
                let max = self.route.settings.body_max.map_or(0, ByteSize::bytes);
                Missed::new(Class::Unjudged, body_too_large(max))
            }
            SendFailure::Body(BodyError::TooSlow(violation)) => {
                exchange.client.note_refusal(&exchange.worker, violation);
                let failure = Failure::refused(violation, &exchange.worker.client_limits);
                Missed::new(Class::Unjudged, failure)
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
        let failure = if self.connects {
            missed.failure.because(ProxyError::ConnectionTimeout)
        } else if self.body.as_ref().is_some_and(|body| body.waits_for_service()) {
            missed.failure.because(ProxyError::ConnectionWriteTimeout)
        } else {
            missed.failure
        };
        Missed { evidence, failure, ..missed }
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
    let (status, headers, clock) = (response.status(), response.headers(), &exchange.worker.clock);
    // A status of gRPC is in the head when nothing else is in the answer.
    let grpc = exchange.manner.is_grpc().then(|| grpc_verdict(status, headers, clock));
    let mut class = grpc.map_or_else(|| Class::of_http_status(status.as_u16()), |verdict| verdict.class);
    // Otherwise it is in the trailers, and until then the call has not gone well.
    let known = if grpc.is_some() && class == Class::Success { Class::Unjudged } else { class };
    attempt.answered(now, known);
    exchange.attempt_ended(now, class, attempt.elapsed(now), Ok(status));
    let mut unresolved = Some(attempt);
    let mut retry_after = None;
    if class.is_retriable() {
        let verdict = grpc.unwrap_or_else(|| verdict(status, headers, &exchange.worker.clock));
        retry_after = verdict.retry_after;
        if let Some(attempt) = unresolved.take() {
            attempt.resolve_with(class, retry_after, now, &exchange.worker.events);
        }
        if verdict.exhausted {
            // A tier further down used up its retries; ours would multiply them.
            class = Class::Permanent;
        }
    }
    let answered = Box::new(Answered { response, connection, attempt: unresolved });
    Ended { class, retry_after, unprocessed: false, last: Last::Answered(answered) }
}

/// Lets go of an answer that will not be delivered. A short body is read to its end, so that its connection
/// can be kept.
fn discard(exchange: &Exchange, route: &RouteRef, ended: Ended) {
    const WORTH_READING: u64 = 16 * 1024;
    let Last::Answered(answered) = ended.last else { return };
    let Answered { response, connection, .. } = *answered;
    if connection.is_multiplexed() {
        return;
    }
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

/// No endpoint can take the call.
fn unavailable(route: &RouteRef, rejection: Rejection) -> Failure {
    let mut failure = Failure::rejected(rejection);
    if rejection.by == Policy::Balance {
        failure.detail = format!("no endpoint of service `{}` can be used", route.service.name);
    }
    failure
}
