//! A call under its route's policies in their one order, up to its attempts.
//!
//! Outermost first: deadline, rate limiter, bulkhead; then, in [`super::attempts`], retry, choice of
//! endpoint, circuit breaker, attempt timeout.

use std::cell::Cell;
use std::rc::Rc;

use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use intertie_core::clock::Instant;
use intertie_core::quantity::ByteSize;
use intertie_core::rejection::Policy;
use intertie_resilience::deadline::Deadline;
use intertie_resilience::rate_limiter::Count;
use intertie_resilience::{MonotonicClock, RateLimiter};

use super::acceptance::accept;
use super::answer::Failure;
use super::body::BodySource;
use super::connect_request::ConnectRequest;
use super::error_code::ErrorCode;
use super::exchange::{Exchange, Settled};
use super::headers::{self, Marks, Passage, Present};
use super::patience::Patience;
use super::rate_limit::push_item;
use super::translate::is_authority;
use super::upgrade::Upgrade;
use super::worker::RouteRef;
use crate::config::Protocol;
use crate::plan::LimitKey;
use crate::route::{Found, RequestView, request_host};

/// A request as it will be sent, and what its policies need to know of it.
pub(super) struct Call {
    pub(super) route: RouteRef,
    pub(super) deadline: Deadline,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    /// Which of the headers the client sent.
    pub(super) present: Present,
    /// Whether the headers went out with an attempt and can not be sent again.
    pub(super) headers_spent: bool,
    pub(super) body: Option<Rc<BodySource>>,
    /// Whether sending it twice does no harm.
    pub(super) idempotent: bool,
    /// Whether the caller already tried before.
    is_repetition: bool,
    /// The protocol that the client asks to go on in.
    pub(super) upgrade: Option<Box<Upgrade>>,
    /// Where the client asks by CONNECT.
    pub(super) connect: Option<Box<ConnectRequest>>,
    /// Whether the attempt under way waits for a connection.
    pub(super) connects: bool,
}

impl Call {
    /// Finds the route, and refuses at once what need not wait for a place: what is ambiguous, too long, or
    /// over a limit.
    pub(super) fn prepare(
        exchange: &mut Exchange,
        mut parts: Parts,
        incoming: Incoming,
    ) -> Result<Self, Failure> {
        #[cfg(feature = "test-panic")]
        assert!(parts.uri.path() != "/panic", "asked to panic");
        let present = exchange.present;
        exchange.expects_continue = present.any(Present::EXPECT) && !incoming.is_end_stream();
        exchange.begin_trace(&mut parts, present);
        let identity = exchange.client.secured.as_ref().and_then(|secured| secured.identity.as_ref());
        headers::write_identity(&mut parts.headers, present, identity);
        accept(exchange, &parts)?;
        let connect = if parts.method == Method::CONNECT {
            Some(Box::new(ConnectRequest::read(&mut parts)?))
        } else {
            None
        };
        let route = find_route(exchange, &parts)?;
        exchange.route = Some(route.clone());
        let now = exchange.started;
        let host = write_host(&mut parts);
        if route.service.transport.may_multiplex() && !is_authority(&host) {
            let detail =
                "the host that the request names can not be named in HTTP/2, which the service speaks";
            return Err(Failure::new(ErrorCode::BadRequest, detail));
        }
        let upgrade = if let Some(connect) = &connect {
            let (allowed, service) = (&route.settings.upgrade, route.service.config.protocol);
            connect.upgrade(&parts, !incoming.is_end_stream(), allowed, service)?.map(Box::new)
        } else if present.any(Present::UPGRADE) && incoming.is_end_stream() {
            // A service that is known to speak HTTP/2 gets a plain request, so no version would be the right one.
            let speaks_http1 = route.service.config.protocol != Protocol::Http2;
            let asked = Upgrade::asked(&parts, &route.settings.upgrade);
            match asked {
                Some(asked) if speaks_http1 => Some(Box::new(asked.of_known_version(&parts)?)),
                asked => asked.map(Box::new),
            }
        } else {
            None
        };
        let accepts_trailers = headers::remove_hop_by_hop(&mut parts.headers, present);
        if present.any(Present::EXPECT) {
            // hyper says 100 as soon as an attempt asks for the body: the service has no part in that.
            parts.headers.remove(EXPECT);
        }
        // Read only now: what `Connection` names was meant for us as a hop, not as a mark.
        let marks = Marks::read(&parts.headers, present);
        let deadline = Deadline::new(now, route.settings.deadline, marks.remaining);
        let body_max = route.settings.body_max.map(ByteSize::bytes);
        if let Some(max) = body_max
            && declared_length(&parts.headers).is_some_and(|declared| declared > max)
        {
            return Err(body_too_large(max));
        }
        acquire(exchange, &route, Count::Calls, &parts.headers, now)?;
        let (client, request_id) = (&exchange.client.forwarded_for, &exchange.request_id);
        let scheme = if exchange.client.secured.is_some() { "https" } else { "http" };
        let mut passage = Passage { client: client.clone(), host, scheme, request_id, accepts_trailers };
        if let Some(origin) = &exchange.origin {
            passage.believe(origin);
        }
        headers::write_passage(&mut parts.headers, present, passage);
        exchange.worker.signature.write_via_request(&mut parts.headers, parts.version);
        if parts.version == Version::HTTP_2 {
            headers::join_cookies(&mut parts.headers, present);
        }
        if let Some(upgrade) = &upgrade {
            upgrade.write(&mut parts.headers);
        }
        let body = if incoming.is_end_stream() {
            None
        } else {
            headers::frame_body(&mut parts.headers, present);
            let replay_max = if route.repeats() { route.settings.replay_body_max.bytes() } else { 0 };
            let patience = Patience::new(&exchange.worker.client_limits);
            Some(Rc::new(BodySource::new(incoming, replay_max, body_max, patience)))
        };
        let path = parts.uri.into_parts().path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self {
            route,
            deadline,
            idempotent: parts.method.is_idempotent() || marks.has_idempotency_key,
            method: parts.method,
            uri: Uri::from(path),
            headers: parts.headers,
            present,
            headers_spent: false,
            body,
            is_repetition: marks.is_repetition,
            upgrade,
            connect,
            connects: false,
        })
    }

    /// Whether the service is asked for nothing but a connection.
    pub(super) fn asks_tunnel(&self) -> bool {
        self.connect.is_some() && self.upgrade.is_none()
    }

    /// Waits for a place in the bulkhead, then attempts.
    pub(super) async fn run(&mut self, exchange: &mut Exchange) -> Result<Settled, Failure> {
        let mut now = exchange.started;
        if let Some(bulkhead) = &self.route.bulkhead {
            let permit = bulkhead.acquire_owned(self.deadline.remaining(now)).await;
            now = MonotonicClock::now();
            exchange.bulkhead = Some(permit.map_err(|rejection| match rejection.by {
                Policy::Deadline => Failure::deadline_exceeded(),
                _ => Failure::rejected(rejection),
            })?);
        }
        if let Some(budget) = &self.route.budget
            && !self.is_repetition
        {
            budget.deposit(now);
        }
        self.attempts(exchange, now).await
    }
}

/// The length that a body says it has.
fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The route that wants the request, or the answer to a request that none wants.
fn find_route(exchange: &Exchange, parts: &Parts) -> Result<RouteRef, Failure> {
    let bad_host = || {
        let detail = "a request names exactly one host, in its target or one Host header";
        Failure::new(ErrorCode::BadRequest, detail)
    };
    let host = request_host(&parts.uri, &parts.headers).map_err(|_| bad_host())?;
    // HTTP/1.0 knows no Host header.
    if host.is_empty() && parts.version != Version::HTTP_10 {
        return Err(bad_host());
    }
    // A tunnel leads elsewhere, whatever the gateway's own name was.
    let leads_here = parts.method != Method::CONNECT;
    if leads_here && exchange.client.secured.as_ref().is_some_and(|secured| !secured.is_for(host)) {
        let detail =
            "the connection was opened for another host, with a certificate that is not for this one";
        return Err(Failure::new(ErrorCode::MisdirectedRequest, detail));
    }
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
            "the path can be read in more than one way: dot or empty segments, escaped slashes, backslashes or malformed escapes",
        )),
        Found::OtherMethods(methods) if methods.is_empty() => {
            let failure = Failure::new(ErrorCode::MethodNotAllowed, "no tunnel is opened to this host");
            Err(Failure { allow: Some(HeaderValue::from_static("")), ..failure })
        }
        Found::OtherMethods(methods) => {
            let methods: Vec<_> = methods.iter().map(http::Method::as_str).collect();
            let allow = methods.join(", ");
            let detail = format!("this path takes {allow}");
            let mut failure = Failure::new(ErrorCode::MethodNotAllowed, detail);
            failure.allow = HeaderValue::try_from(allow).ok();
            Err(failure)
        }
    }
}

/// Sees to it that the Host header to pass on is there, with its port, and returns it.
fn write_host(parts: &mut Parts) -> HeaderValue {
    let target = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if target.is_none()
        && let Some(host) = parts.headers.get(HOST)
    {
        return host.clone();
    }
    let host = target.unwrap_or_else(|| HeaderValue::from_static(""));
    parts.headers.insert(HOST, host.clone());
    host
}

/// Asks the route's limiters that count `what`: all of them grant it, or none is charged.
pub(super) fn acquire(
    exchange: &mut Exchange,
    route: &RouteRef,
    what: Count,
    headers: &HeaderMap,
    now: Instant,
) -> Result<(), Failure> {
    if route.limiters.is_empty() {
        return Ok(());
    }
    let last_asked = Cell::new(None);
    let address = exchange.address();
    let counted = route.limiters.iter().filter(|limiter| limiter.limiter.config().count == what);
    let asked = counted.clone().inspect(|limiter| last_asked.set(Some(*limiter)));
    let claims = asked.map(|limiter| match &limiter.by {
        LimitKey::All => limiter.limiter.quotas.claim(()),
        LimitKey::ClientAddress => limiter.limiter.quotas.claim(address),
        LimitKey::Header(name) => limiter.limiter.quotas.claim(headers.get(name).map(HeaderValue::as_bytes)),
    });
    let worker = &exchange.worker;
    let refused = match worker.signature.rate_limit_items() {
        None => RateLimiter::try_acquire_all(claims, now, 1).err(),
        Some(mut items) => {
            let telling = |quota| {
                if let Some(limiter) = last_asked.get() {
                    push_item(&mut items, &limiter.told_as, quota);
                }
            };
            let refused = RateLimiter::try_acquire_all_telling(claims, now, 1, telling).err();
            exchange.told.note(what, &items);
            refused
        }
    };
    let Some(refused) = refused else {
        counted.for_each(|limiter| limiter.limiter.admitted.increment());
        return Ok(());
    };
    let mut failure = Failure::rejected(refused);
    if let Some(refusing) = last_asked.get() {
        refusing.limiter.rejected.increment();
        if let Some(name) = &refusing.shared {
            failure.detail.push_str(&format!(" of [limit.{name}]"));
        }
    }
    Err(failure)
}

pub(super) fn body_too_large(max: u64) -> Failure {
    Failure::new(ErrorCode::BodyTooLarge, format!("the body is longer than body_max, {max} bytes"))
}
