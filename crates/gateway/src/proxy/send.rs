//! One attempt's request on its way: on which connection, and what it means when no answer comes.

use std::io;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use intertie_core::clock::Instant;

use super::attempt::Attempt;
use super::body::{BodyError, RequestBody};
use super::call::Call;
use super::connect::{OpenError, open, open_http1};
use super::exchange::Exchange;
use super::headers;
use super::observed::Refusal;
use super::pool::Connection;
use super::proxy_error::{Ending, ProxyError};
use super::reset::{Reset, reset};
use super::trace;
use crate::config::Protocol;
use crate::tls::{ServiceHandshake, is_refusal};
use crate::wire::Violation;

/// Why an attempt got no answer.
pub(super) enum SendFailure {
    /// No connection was to be had that took a byte of the request.
    Unsent(String, ProxyError),
    /// The service speaks HTTP in no version in which it can be asked to switch protocols.
    NoUpgrade(OpenError),
    /// No connection was to be had for want of something on this side.
    Exhausted(OpenError),
    /// The service said in HTTP/2 why it gives no answer.
    Reset(Reset),
    /// The service may have seen the request.
    Exchange {
        detail: String,
        error: ProxyError,
        /// A kept connection failed before a head came: the service closed it, which is its right.
        closed_idle: bool,
    },
    /// The request's own body ended before its time.
    Body(BodyError),
}

impl From<OpenError> for SendFailure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Failed(cause, error) => Self::Unsent(cause.to_string(), error),
            OpenError::NoHttp1 => Self::NoUpgrade(error),
            OpenError::Starved(_) | OpenError::Exhausted { .. } => Self::Exhausted(error),
        }
    }
}

impl SendFailure {
    /// The answer is not read on.
    fn refused(violation: Violation) -> Self {
        let error = ProxyError::of_violation(violation);
        Self::Exchange { detail: violation.to_string(), error, closed_idle: false }
    }
}

impl Call {
    /// Sends the request and waits for the head of the answer. A kept connection that its service closed
    /// before it took the request is replaced, as often as there are kept ones.
    pub(super) async fn send(
        &mut self,
        exchange: &Exchange,
        attempt: &Attempt,
        now: Instant,
        remaining: Option<Duration>,
    ) -> Result<(Response<Incoming>, Connection), SendFailure> {
        let pool = &exchange.worker.pool;
        let (service, endpoint) = (attempt.service(), attempt.endpoint());
        let (mut reuse, mut resent) = (true, false);
        // In HTTP/2 there is nothing to switch, and the service would take the request for a plain one.
        let wants_http1 = self.upgrade.is_some() && service.transport.protocol == Protocol::Negotiate;
        let mut unsent: Option<Box<Request<RequestBody>>> = None;
        loop {
            let kept = match reuse {
                true if wants_http1 => pool.take_kept(service, endpoint, now),
                true => pool.take(service, endpoint, now),
                false => None,
            };
            let opened = kept.is_none();
            let mut connection = match kept {
                Some(mut kept) => {
                    kept.was_kept();
                    kept
                }
                // In a box, since it is rare and large.
                None => {
                    self.connects = true;
                    let opened = if wants_http1 {
                        Box::pin(open_http1(&exchange.worker, service, endpoint)).await
                    } else {
                        Box::pin(open(&exchange.worker, service, endpoint)).await
                    };
                    self.connects = false;
                    opened.map_err(|error| {
                        self.restore(unsent.take());
                        SendFailure::from(error)
                    })?
                }
            };
            let outgoing = match unsent.take() {
                Some(request) => *request,
                None => self.request(exchange, remaining, &connection),
            };
            let mut error = match connection.send(outgoing, endpoint).await {
                Ok(response) if connection.is_multiplexed() => {
                    let refused = refusal(exchange, attempt, &response);
                    return refused.map_or(Ok((response, connection)), Err);
                }
                Ok(response) => return Ok((response, connection)),
                Err(error) => error,
            };
            if let Some(failure) = self.body.as_ref().and_then(|body| body.failure()) {
                return Err(SendFailure::Body(failure));
            }
            // In a box, since it is rare and large.
            unsent = error.take_message().map(|unsent| Box::new(connection.taken_back(unsent)));
            let error = error.into_error();
            if let Some(Refusal { violation, .. }) = connection.refusal().filter(|_| unsent.is_none()) {
                return Err(SendFailure::refused(violation));
            }
            if unsent.is_some() {
                if opened {
                    self.restore(unsent);
                    let proxy_error = ProxyError::of_exchange(&error, Ending::Closed);
                    return Err(SendFailure::Unsent(error.to_string(), proxy_error));
                }
                continue;
            }
            let closed = was_closed(&error);
            let closed_idle = connection.was_idle() && closed;
            let reset = reset(&error);
            let in_order = reset.is_some_and(|reset| reset.in_order);
            let again = in_order || (closed_idle && self.idempotent);
            if again && !resent && self.body.is_none() && !self.headers_spent {
                endpoint.stats.resends.increment();
                (reuse, resent) = (connection.is_multiplexed(), true);
                continue;
            }
            return Err(match reset {
                Some(reset) => SendFailure::Reset(reset),
                None => {
                    let ending = match closed {
                        true if connection.broke_off_in_head() => Ending::InHead,
                        true => Ending::Closed,
                        false => Ending::Misspoken,
                    };
                    let proxy_error = ProxyError::of_exchange(&error, ending);
                    if is_refusal(&error) {
                        SendFailure::Unsent(ServiceHandshake::Refused.words().to_owned(), proxy_error)
                    } else {
                        SendFailure::Exchange { detail: error.to_string(), error: proxy_error, closed_idle }
                    }
                }
            });
        }
    }

    /// Takes back a request of which not a byte was sent, so that another attempt can send it.
    fn restore(&mut self, unsent: Option<Box<Request<RequestBody>>>) {
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
        connection: &Connection,
    ) -> Request<RequestBody> {
        let number = exchange.attempts;
        debug_assert!(!self.headers_spent, "asked by `may_repeat`");
        // Over HTTP/2 a service can give back any request without having acted on it.
        let repeatable = self.idempotent || connection.is_multiplexed();
        let keep = repeatable && (self.route.repeats() || (connection.reused && self.body.is_none()));
        // The copy stays: it has no room for what is written now.
        let left = if keep { self.headers.clone() } else { HeaderMap::default() };
        self.headers_spent = !keep;
        let mut headers = std::mem::replace(&mut self.headers, left);
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

/// Why an answer over HTTP/2 is not passed on, told and counted as over HTTP/1.1; there the connection was
/// looked at before hyper read it, and here h2 held the head to `header_bytes_max`.
fn refusal(exchange: &Exchange, attempt: &Attempt, response: &Response<Incoming>) -> Option<SendFailure> {
    let worker = &exchange.worker;
    if response.headers().len() <= worker.client_limits.headers_max.get() as usize {
        return None;
    }
    let violation = Violation::Headers;
    worker.refused.refused_answer(violation);
    worker.tell_seldom("answer_refused", || {
        vec![
            ("service", attempt.service().name.to_string()),
            ("endpoint", attempt.endpoint().address.to_string()),
            ("reason", violation.name().to_owned()),
        ]
    });
    Some(SendFailure::refused(violation))
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
