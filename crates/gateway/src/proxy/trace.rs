//! The trace of a request: read from its headers, kept while it is recorded, told as spans when it is over.
//!
//! A request that is not recorded keeps its place in the trace, and nothing else.

use std::fmt;
use std::sync::Arc;

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode, Version};
use intertie_core::clock::{Instant, Timestamp};
use intertie_core::rejection::Policy;
use intertie_core::span::{AttributeValue, Span, SpanKind};
use intertie_core::trace::{Parent, Sampler, TraceContext, b3};
use intertie_discovery::endpoint::Address;
use schemars::JsonSchema;
use serde::Deserialize;

use super::client::Client;
use super::error_code::ErrorCode;
use crate::field::only;
use crate::route::without_userinfo;

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
static B3: HeaderName = HeaderName::from_static("b3");
static B3_MULTIPLE: [HeaderName; 5] = [
    HeaderName::from_static("x-b3-traceid"),
    HeaderName::from_static("x-b3-spanid"),
    HeaderName::from_static("x-b3-sampled"),
    HeaderName::from_static("x-b3-flags"),
    HeaderName::from_static("x-b3-parentspanid"),
];

/// Which traces are recorded, and where their spans go.
#[derive(Clone)]
pub struct Tracing {
    sampler: Sampler,
    parents: TraceParents,
    /// What services are told of the sampling of traces that begin here.
    tracestate: Option<HeaderValue>,
    sink: SpanSink,
}

/// Whose traces are continued, and whose decision to record them is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceParents {
    /// Every caller's.
    #[default]
    All,
    /// Those of connections from `trusted_proxies`.
    TrustedProxies,
}

/// Where the spans of a recorded request go. It is called on a data thread, and must not wait.
pub type SpanSink = Arc<dyn Fn(Vec<Span>) + Send + Sync>;

impl Tracing {
    /// Records what `sampler` chooses of the traces about which none of `parents` has decided, and tells `sink`.
    pub fn new(sampler: Sampler, parents: TraceParents, sink: SpanSink) -> Self {
        let tracestate = sampler.tracestate().and_then(|state| HeaderValue::try_from(state).ok());
        Self { sampler, parents, tracestate, sink }
    }

    /// Whether the trace that a client names is continued.
    pub(super) fn continues(&self, client: &Client) -> bool {
        match self.parents {
            TraceParents::All => true,
            TraceParents::TrustedProxies => client.is_trusted,
        }
    }
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing").field("sampler", &self.sampler).finish_non_exhaustive()
    }
}

/// Reads what the request says of its trace, takes the next place in it, and writes that one for the service.
/// W3C's headers come before B3's, which end here: two that disagree would tear the trace apart. Where what is
/// said is not `heeded`, a trace begins here.
pub(super) fn begin(
    parts: &mut Parts,
    present: bool,
    heeded: bool,
    tracing: Option<&Tracing>,
) -> (TraceContext, Option<Box<Recording>>) {
    let headers = &mut parts.headers;
    let said = present && heeded;
    let w3c = if said { w3c_parent(headers) } else { None };
    let parent = match w3c {
        None if said => b3_parent(headers).unwrap_or_default(),
        parent => parent.unwrap_or_default(),
    };
    let context = parent.child(tracing.map(|tracing| tracing.sampler));
    if present {
        if w3c.is_none() {
            headers.remove(&TRACESTATE);
        }
        for name in B3_MULTIPLE.iter().chain([&B3]) {
            headers.remove(name);
        }
    }
    let decided_here = parent.sampled.is_none() && context.sampled;
    if decided_here
        && let Some(tracing) = tracing
        && let Some(state) = &tracing.tracestate
    {
        headers.insert(&TRACESTATE, state.clone());
    }
    write(headers, context);
    let recording = tracing.filter(|_| context.sampled).map(|_| Box::new(Recording::new(parent, parts)));
    (context, recording)
}

/// Says which span makes the request.
pub(super) fn write(headers: &mut HeaderMap, context: TraceContext) {
    if let Ok(value) = HeaderValue::from_bytes(&context.to_traceparent()) {
        headers.insert(&TRACEPARENT, value);
    }
}

/// A `traceparent` that stands there twice says nothing.
fn w3c_parent(headers: &HeaderMap) -> Option<Parent> {
    TraceContext::parse(only(headers, &TRACEPARENT)?.as_bytes()).map(Parent::from)
}

fn b3_parent(headers: &HeaderMap) -> Option<Parent> {
    if let Some(value) = headers.get(&B3) {
        return b3::single(value.as_bytes());
    }
    let [trace_id, span_id, sampled, flags] =
        [0, 1, 2, 3].map(|place| headers.get(&B3_MULTIPLE[place]).map(HeaderValue::as_bytes));
    b3::multiple(b3::Multiple { trace_id, span_id, sampled, flags })
}

/// What is kept of a request whose trace is recorded.
#[derive(Debug)]
pub(super) struct Recording {
    parent: Option<u64>,
    trace_state: Option<String>,
    method: Method,
    version: Version,
    host: String,
    path: String,
    attempts: Vec<AttemptRecord>,
    rejected_by: Option<Policy>,
}

/// What is kept of one of its attempts.
#[derive(Debug)]
struct AttemptRecord {
    context: TraceContext,
    endpoint: Address,
    started: Instant,
    /// When it ended and how, unless the request ended before it.
    ended: Option<(Instant, Result<StatusCode, ErrorCode>)>,
}

/// What the exchange knows of its request when it is over.
#[derive(Debug)]
pub(super) struct Outcome<'a> {
    pub(super) started: Instant,
    pub(super) ended: Instant,
    /// 0 when the client got none.
    pub(super) status: u16,
    pub(super) error: Option<ErrorCode>,
    /// How it ended, unless with a complete answer.
    pub(super) cut: Option<&'static str>,
    pub(super) scheme: &'static str,
    pub(super) client: String,
    pub(super) request_id: &'a HeaderValue,
    /// The route's name, and the path that it stands for.
    pub(super) route: Option<(&'a str, &'a str)>,
    pub(super) service: Option<&'a str>,
    /// How the service is spoken to.
    pub(super) service_scheme: &'static str,
}

impl Recording {
    fn new(parent: Parent, parts: &Parts) -> Self {
        let headers = &parts.headers;
        let states: Vec<_> =
            headers.get_all(&TRACESTATE).iter().filter_map(|state| state.to_str().ok()).collect();
        let authority = parts.uri.authority().map(http::uri::Authority::as_str);
        let host = authority.or_else(|| headers.get(HOST)?.to_str().ok());
        Self {
            parent: parent.span.map(|(_, span_id)| span_id),
            trace_state: (!states.is_empty()).then(|| states.join(",")),
            method: parts.method.clone(),
            version: parts.version,
            host: beginning(host.map(without_userinfo).unwrap_or_default()),
            path: beginning(parts.uri.path()),
            attempts: Vec::new(),
            rejected_by: None,
        }
    }

    pub(super) fn rejected(&mut self, by: Policy) {
        self.rejected_by = Some(by);
    }

    pub(super) fn attempt_begins(&mut self, request: TraceContext, endpoint: &Address, now: Instant) {
        let context = Parent::from(request).child(None);
        self.attempts.push(AttemptRecord { context, endpoint: endpoint.clone(), started: now, ended: None });
    }

    /// The place of the attempt under way.
    pub(super) fn attempt(&self) -> Option<TraceContext> {
        self.attempts.last().map(|attempt| attempt.context)
    }

    pub(super) fn attempt_ended(&mut self, now: Instant, outcome: Result<StatusCode, ErrorCode>) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.ended = Some((now, outcome));
        }
    }

    /// Tells the spans: the request's, and one for each attempt. `wall` is what the wall clock shows at `now`.
    pub(super) fn finish(
        self,
        tracing: &Tracing,
        context: TraceContext,
        outcome: &Outcome<'_>,
        (now, wall): (Instant, Timestamp),
    ) {
        let at = |instant: Instant| {
            let since = intertie_core::clock::nanos(now.saturating_since(instant));
            Timestamp::from_unix_nanos(wall.as_unix_nanos().saturating_sub(since))
        };
        let mut spans = Vec::with_capacity(1 + self.attempts.len());
        spans.push(self.request_span(context, outcome, at));
        for (resends, attempt) in self.attempts.iter().enumerate() {
            spans.push(self.attempt_span(context, attempt, resends, outcome, at));
        }
        (tracing.sink)(spans);
    }

    fn request_span(
        &self,
        context: TraceContext,
        outcome: &Outcome<'_>,
        at: impl Fn(Instant) -> Timestamp,
    ) -> Span {
        let method = known(&self.method);
        let verb = method.unwrap_or("HTTP");
        let name = outcome.route.map_or_else(|| verb.to_owned(), |(_, path)| format!("{verb} {path}"));
        let mut attributes = self.method_attributes();
        attributes.extend([
            ("url.scheme", outcome.scheme.into()),
            ("url.path", self.path.clone().into()),
            ("client.address", outcome.client.clone().into()),
            ("network.protocol.version", version(self.version).into()),
            ("intertie.attempts", AttributeValue::Number(self.attempts.len() as i64)),
        ]);
        let (host, port) = host_and_port(&self.host);
        attributes.extend((!host.is_empty()).then(|| ("server.address", host.to_owned().into())));
        attributes.extend(port.map(|port| ("server.port", port.into())));
        if let Some((name, path)) = outcome.route {
            attributes.push(("http.route", path.to_owned().into()));
            attributes.push(("intertie.route", name.to_owned().into()));
        }
        attributes.extend(outcome.service.map(|service| ("intertie.service", service.to_owned().into())));
        attributes.extend(self.rejected_by.map(|policy| ("intertie.rejected_by", policy.name().into())));
        attributes.extend(outcome.error.map(|error| ("intertie.error_code", error.code().into())));
        if let Ok(id) = outcome.request_id.to_str() {
            attributes.push(("intertie.request_id", id.to_owned().into()));
        }
        let status = outcome.status;
        attributes.extend((status != 0).then(|| ("http.response.status_code", status.into())));
        let error = match (outcome.cut, outcome.error) {
            (Some(cut), _) => Some(cut.into()),
            (None, Some(error)) if error.status().is_server_error() => Some(error.code().into()),
            (None, _) if status >= 500 => Some(status.to_string().into()),
            _ => None,
        };
        let failed = error.is_some();
        attributes.extend(error.map(|error| ("error.type", error)));
        Span {
            context,
            parent: self.parent,
            trace_state: self.trace_state.clone(),
            kind: SpanKind::Server,
            name,
            started: at(outcome.started),
            ended: at(outcome.ended),
            attributes,
            failed,
        }
    }

    fn attempt_span(
        &self,
        request: TraceContext,
        attempt: &AttemptRecord,
        resends: usize,
        outcome: &Outcome<'_>,
        at: impl Fn(Instant) -> Timestamp,
    ) -> Span {
        let mut attributes = self.method_attributes();
        let endpoint = &attempt.endpoint;
        attributes.extend([
            ("server.address", endpoint.host().to_owned().into()),
            ("server.port", endpoint.port().into()),
            ("url.full", format!("{}://{endpoint}{}", outcome.service_scheme, self.path).into()),
        ]);
        let count = AttributeValue::Number(resends as i64);
        attributes.extend((resends > 0).then_some(("http.request.resend_count", count)));
        let (ended, error) = match attempt.ended {
            Some((ended, Ok(status))) => {
                let status = status.as_u16();
                attributes.push(("http.response.status_code", status.into()));
                (ended, (status >= 400).then(|| status.to_string().into()))
            }
            Some((ended, Err(code))) => (ended, Some(code.code().into())),
            None => (outcome.ended, Some(outcome.cut.unwrap_or("abandoned").into())),
        };
        let failed = error.is_some();
        attributes.extend(error.map(|error| ("error.type", error)));
        Span {
            context: attempt.context,
            parent: Some(request.span_id),
            trace_state: self.trace_state.clone(),
            kind: SpanKind::Client,
            name: known(&self.method).unwrap_or("HTTP").to_owned(),
            started: at(attempt.started),
            ended: at(ended),
            attributes,
            failed,
        }
    }

    fn method_attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        match known(&self.method) {
            Some(method) => vec![("http.request.method", method.into())],
            None => vec![
                ("http.request.method", "_OTHER".into()),
                ("http.request.method_original", self.method.as_str().to_owned().into()),
            ],
        }
    }
}

/// As much of a client's text as is kept: many such wait for their collector.
fn beginning(text: &str) -> String {
    const BYTES_MAX: usize = 1024;
    text[..text.floor_char_boundary(BYTES_MAX)].to_owned()
}

/// The method, if it is one of those that the conventions know: no name may come from a client.
fn known(method: &Method) -> Option<&'static str> {
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]
        .into_iter()
        .find(|known| *known == method.as_str())
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// The parts of a host as a client writes it: `shop.example:8080`, `[::1]:8080`.
fn host_and_port(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port.parse().ok()),
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests;
