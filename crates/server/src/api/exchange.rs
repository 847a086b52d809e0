//! One request, from its head to its answer.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER,
    TRANSFER_ENCODING, VARY, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use intertie_core::id::Id;
use intertie_engine_embedded::Embedded;
use intertie_gateway::document::{Document, prefers_problem, retry_after_value};
use intertie_messaging::Name;

use super::access::Token;
use super::failure::{ApiCode, Failure};
use super::resource::Done;
use super::target::{Query, Target};
use super::{Phase, Shared, dead_letters, leases, messages, origin, queues};
use crate::file::Verb;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request whose body is read, and what answers it.
pub(super) struct Asked<'a> {
    pub(super) shared: &'a Shared,
    pub(super) engine: Arc<Embedded>,
    pub(super) client: Option<Arc<Token>>,
    pub(super) peer: IpAddr,
    pub(super) parts: &'a Parts,
    pub(super) query: Query,
    pub(super) body: Bytes,
}

/// Answers `request`, whatever it is.
pub(super) async fn answer(
    shared: &Shared,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let _counted = shared.count();
    let (parts, body) = request.into_parts();
    let id = Id::random().to_string();
    let done = respond(shared, peer, &parts, body).await;
    let mut response = match done {
        Ok(done) => success(shared, done, &id),
        Err(failure) => refusal(shared, &failure, &parts, &id),
    };
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if shared.phase() != Phase::Serving && parts.version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if parts.method == Method::HEAD {
        let length = response.body().size_hint().exact().unwrap_or_default();
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        *response.body_mut() = Full::default();
    }
    response
}

async fn respond(shared: &Shared, peer: IpAddr, parts: &Parts, body: Incoming) -> Result<Done, Failure> {
    let access = shared.access();
    if access.is_open() {
        origin::check(parts).inspect_err(|failure| shared.denied(peer, None, parts, failure))?;
    }
    let client = access.client(&parts.headers);
    let client = client.inspect_err(|failure| shared.denied(peer, None, parts, failure))?;
    if let Some(client) = &client {
        client.admit()?;
    }
    let target = Target::of(parts.uri.path())?;
    let method = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
    let methods = target.methods();
    if !methods.split(", ").any(|known| known == method.as_str()) {
        let detail = format!("`{}` is no method of this resource; it has {methods}", parts.method);
        let failure = Failure::new(ApiCode::MethodNotAllowed, detail);
        return Err(Failure { allow: Some(methods), ..failure });
    }
    if let (Some(client), Some((verb, queue))) = (&client, target.verb(method)) {
        let allowed = may(client, verb, queue);
        allowed.inspect_err(|failure| shared.denied(peer, Some(client), parts, failure))?;
    }
    let told = client.clone();
    answer_to(shared, peer, client, parts, body, target, method).await.map_err(|failure| {
        let failure = shared.told_of_a_full_disk(failure);
        let may_know = |queue: &Name| told.as_ref().is_none_or(|client| client.may(Verb::Browse, queue));
        match failure.nearest.clone().filter(may_know) {
            Some(near) => {
                Failure { detail: format!("{}; did you mean `{near}`?", failure.detail), ..failure }
            }
            None => failure,
        }
    })
}

/// Whether the client may do `verb` with `queue`.
pub(super) fn may(client: &Token, verb: Verb, queue: &Name) -> Result<(), Failure> {
    if client.may(verb, queue) {
        return Ok(());
    }
    let (client, verb) = (client.name(), verb.name());
    Err(Failure::new(ApiCode::Forbidden, format!("the token `{client}` may not {verb} `{queue}`")))
}

async fn answer_to(
    shared: &Shared,
    peer: IpAddr,
    client: Option<Arc<Token>>,
    parts: &Parts,
    body: Incoming,
    target: Target,
    method: &Method,
) -> Result<Done, Failure> {
    let query = Query::of(&parts.uri)?;
    if !matches!(target, Target::Messages(_)) {
        is_json(&parts.headers)?;
    }
    let body = read(shared, parts, body).await?;
    let engine = shared.store.engine(shared.store_patience).await?;
    let asked = Asked { shared, engine, client, peer, parts, query, body };
    match (method.as_str(), target) {
        ("GET", Target::Queues) => queues::list(asked).await,
        ("GET", Target::Queue(queue)) => queues::show(asked, &queue).await,
        ("POST", Target::Messages(queue)) => messages::send(asked, &queue).await,
        ("GET", Target::Messages(queue)) => messages::browse(asked, &queue).await,
        ("GET", Target::Message(queue, position)) => messages::show(asked, &queue, position).await,
        ("DELETE", Target::Message(queue, position)) => messages::cancel(asked, &queue, position).await,
        ("POST", Target::Leases(queue)) => leases::lease(asked, &queue).await,
        ("PATCH", Target::Lease(queue, lease)) => leases::extend(asked, &queue, &lease).await,
        ("POST", Target::Settlements(queue)) => leases::settle(asked, &queue).await,
        ("GET", Target::DeadLetters(queue)) => dead_letters::list(asked, &queue).await,
        ("POST", Target::Redrives(queue)) => dead_letters::redrive(asked, &queue).await,
        (method, target) => unreachable!("{method} is no method of {target:?}"),
    }
}

/// Whether a body is of JSON, or does not say what it is of.
///
/// # Errors
/// It is of something else, which a form of another site may have sent.
fn is_json(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || essence.ends_with("+json") {
        return Ok(());
    }
    Err(Failure::new(ApiCode::UnsupportedMediaType, "the body must be `application/json`"))
}

/// The whole body, within its bounds.
async fn read(shared: &Shared, parts: &Parts, body: Incoming) -> Result<Bytes, Failure> {
    let limits = &shared.limits;
    let most = limits.body_bytes_max;
    let too_large = || {
        let detail = format!("the body has more bytes than `body_bytes_max` of `api_limits`, {most}");
        Failure::new(ApiCode::BodyTooLarge, detail)
    };
    let declared = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > most.bytes()) {
        return Err(too_large());
    }
    let read = Limited::new(body, usize::try_from(most.bytes()).unwrap_or(usize::MAX)).collect();
    match tokio::time::timeout(limits.body_timeout, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Failure::new(ApiCode::BadRequest, "the body broke off")),
        Err(_) => {
            let detail = "the body took longer than `body_timeout` of `api_limits`";
            Err(Failure::new(ApiCode::RequestTimeout, detail))
        }
    }
}

/// S4's form of what was done.
fn success(shared: &Shared, done: Done, id: &str) -> Response<Full<Bytes>> {
    let Done { status, data, links, location } = done;
    let body = data.map_or_else(Bytes::new, |data| {
        let mut body = Vec::with_capacity(data.len() + 256);
        body.extend_from_slice(b"{\"data\":");
        body.extend_from_slice(&data);
        let at = shared.clock.now();
        let meta = format!(
            ",\"meta\":{{\"timestamp\":\"{at}\",\"requestId\":\"{id}\",\"version\":\"v1\"}},\"links\":{{"
        );
        body.extend_from_slice(meta.as_bytes());
        for (position, (name, path)) in links.iter().enumerate() {
            let comma = if position > 0 { "," } else { "" };
            body.extend_from_slice(format!("{comma}\"{name}\":\"{path}\"").as_bytes());
        }
        body.extend_from_slice(b"}}");
        Bytes::from(body)
    });
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if status != StatusCode::NO_CONTENT {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(location) = location.and_then(|location| HeaderValue::try_from(location).ok()) {
        headers.insert(LOCATION, location);
    }
    response
}

/// A failure in the form that the client reads.
fn refusal(shared: &Shared, failure: &Failure, parts: &Parts, id: &str) -> Response<Full<Bytes>> {
    let document = Document {
        status: failure.code.status(),
        code: failure.code.code(),
        title: failure.code.title(),
        detail: &failure.detail,
        pointer: failure.pointer.as_deref(),
        request_id: id,
        route: None,
        at: shared.clock.now(),
    };
    let wants_problem = prefers_problem(parts.headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes));
    let (content_type, body) = if wants_problem {
        ("application/problem+json", document.problem(None))
    } else {
        ("application/json", document.errors())
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = failure.code.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    if let Some(wait) = failure.retry_after {
        headers.insert(RETRY_AFTER, retry_after_value(wait));
    }
    if failure.code == ApiCode::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(allow) = failure.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    // The rest of a body that is not read would be taken for the next request.
    let has_body = parts.headers.contains_key(TRANSFER_ENCODING)
        || parts.headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    if has_body && is_unread(failure.code) && parts.version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether a request is refused before its body is read to its end.
fn is_unread(code: ApiCode) -> bool {
    use ApiCode::{
        BodyTooLarge, Forbidden, MethodNotAllowed, NotFound, RateLimited, RequestTimeout, Unauthenticated,
        UnsupportedMediaType,
    };
    let before = [Forbidden, MethodNotAllowed, NotFound, RateLimited, Unauthenticated, UnsupportedMediaType];
    before.contains(&code) || matches!(code, BodyTooLarge | RequestTimeout)
}
