//! Headers that end here, and headers that begin here.

use std::net::IpAddr;
use std::time::Duration;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RETRY_AFTER, TE, TRANSFER_ENCODING, UPGRADE,
};
use intertie_core::clock::WallClock;
use intertie_core::trace::TraceContext;

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
static CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
static GRPC_PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
static INTERTIE_DEADLINE: HeaderName = HeaderName::from_static("intertie-deadline");
static INTERTIE_ATTEMPT: HeaderName = HeaderName::from_static("intertie-attempt");
static INTERTIE_RETRY: HeaderName = HeaderName::from_static("intertie-retry");
pub(super) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A correlation id longer than this is replaced: it would be copied to every hop and log line.
const CORRELATION_ID_BYTES_MAX: usize = 128;

/// What a request says about itself to the policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks {
    /// The time that the caller leaves.
    pub(super) remaining: Option<Duration>,
    /// Whether the caller already tried before.
    pub(super) is_repetition: bool,
    /// Whether it carries an idempotency key.
    pub(super) has_idempotency_key: bool,
}

impl Marks {
    /// Reads the marks; those that are malformed count as absent.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let deadline = headers.get(&INTERTIE_DEADLINE).and_then(number).map(Duration::from_millis);
        let grpc = headers.get(&GRPC_TIMEOUT).and_then(grpc_timeout);
        let attempt = headers.get(&INTERTIE_ATTEMPT).and_then(number).unwrap_or(1);
        let grpc_previous = headers.get(&GRPC_PREVIOUS_ATTEMPTS).and_then(number).unwrap_or(0);
        Self {
            remaining: [deadline, grpc].into_iter().flatten().min(),
            is_repetition: attempt > 1 || grpc_previous > 0,
            has_idempotency_key: headers.contains_key(&IDEMPOTENCY_KEY),
        }
    }
}

fn number(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.trim().parse().ok()
}

/// gRPC's `TimeoutValue TimeoutUnit`: at most eight digits and one of `HMSmun`.
fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// Whether a header concerns only the connection that it came on.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    let standard = [CONNECTION, TE, TRANSFER_ENCODING, UPGRADE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION];
    standard.contains(name) || *name == KEEP_ALIVE || *name == PROXY_CONNECTION
}

/// Removes what concerns only the connection it came on (RFC 9110, section 7.6.1). True when the sender
/// understands trailers.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) -> bool {
    // Nearly all messages carry none, and a look at each name costs less than eight look-ups.
    if !headers.keys().any(is_hop_by_hop) {
        return false;
    }
    let lists = |name: &HeaderName| -> Vec<String> {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(|part| part.trim().to_ascii_lowercase()).collect()
    };
    let accepts_trailers = lists(&TE).iter().any(|part| part == "trailers");
    let named = lists(&CONNECTION);
    for name in named.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()) {
        // `Connection: host` must not take away what routing and framing stand on.
        if name != HOST && name != CONTENT_LENGTH {
            headers.remove(name);
        }
    }
    for name in [CONNECTION, TE, TRANSFER_ENCODING, UPGRADE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION] {
        headers.remove(name);
    }
    headers.remove(&KEEP_ALIVE);
    headers.remove(&PROXY_CONNECTION);
    accepts_trailers
}

/// What the gateway knows of a request when it passes it on.
#[derive(Debug)]
pub(super) struct Passage<'a> {
    pub(super) client: IpAddr,
    pub(super) host: &'a HeaderValue,
    pub(super) request_id: &'a HeaderValue,
    pub(super) accepts_trailers: bool,
}

/// Writes the headers that a service gets from the gateway. The client's own `X-Forwarded-*` and
/// `Forwarded` are replaced: anyone can write them.
pub(super) fn write_passage(headers: &mut HeaderMap, passage: &Passage<'_>) {
    let foreign = |name: &HeaderName| *name == FORWARDED || name.as_str().starts_with("x-forwarded-");
    if headers.keys().any(foreign) {
        let foreign: Vec<_> = headers.keys().filter(|name| foreign(name)).cloned().collect();
        for name in foreign {
            headers.remove(name);
        }
    }
    headers.insert(&X_FORWARDED_FOR, address_value(passage.client));
    headers.insert(&X_FORWARDED_HOST, passage.host.clone());
    headers.insert(&X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    headers.insert(HOST, passage.host.clone());
    headers.insert(&REQUEST_ID, passage.request_id.clone());
    let correlated = headers
        .get(&CORRELATION_ID)
        .is_some_and(|id| !id.is_empty() && id.len() <= CORRELATION_ID_BYTES_MAX && id.to_str().is_ok());
    if !correlated {
        headers.insert(&CORRELATION_ID, passage.request_id.clone());
    }
    let parent = headers.get(&TRACEPARENT).and_then(|value| TraceContext::parse(value.as_bytes()));
    let span = match parent {
        Some(parent) => parent.child(),
        None => {
            headers.remove(&TRACESTATE);
            TraceContext::root(false)
        }
    };
    if let Ok(value) = HeaderValue::from_bytes(&span.to_traceparent()) {
        headers.insert(&TRACEPARENT, value);
    }
    if passage.accepts_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Joins the cookies of HTTP/2, which may come as several headers, into the one that HTTP/1.1 knows
/// (RFC 9113, section 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// Says how a body without a length is framed: without it, hyper sends a GET's body not at all.
pub(super) fn frame_body(headers: &mut HeaderMap) {
    if !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Tells the service how long it may take and which attempt this is.
pub(super) fn write_marks(headers: &mut HeaderMap, remaining: Option<Duration>, attempt: u32) {
    if let Some(remaining) = remaining {
        let millis = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
        headers.insert(&INTERTIE_DEADLINE, HeaderValue::from(millis));
        if headers.contains_key(&GRPC_TIMEOUT)
            && let Ok(value) = HeaderValue::try_from(format!("{}m", millis.min(99_999_999)))
        {
            headers.insert(&GRPC_TIMEOUT, value);
        }
    }
    headers.insert(&INTERTIE_ATTEMPT, HeaderValue::from(attempt));
}

/// Whether a tier further down has used up its retries for this answer.
pub(super) fn is_exhausted(headers: &HeaderMap) -> bool {
    headers.get(&INTERTIE_RETRY).is_some_and(|value| value == "exhausted")
}

/// Tells the caller that trying again is what we already did.
pub(super) fn mark_exhausted(headers: &mut HeaderMap) {
    headers.insert(&INTERTIE_RETRY, HeaderValue::from_static("exhausted"));
}

/// `Retry-After` in either of its forms.
pub(super) fn retry_after(headers: &HeaderMap, clock: &WallClock) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?;
    if let Some(seconds) = number(value) {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    let at = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(at.saturating_sub(Duration::from_nanos(clock.now().as_unix_nanos())))
}

fn address_value(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn hop_by_hop_headers_end_here() {
        let mut map = headers(&[
            ("connection", "close, x-secret, host"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip, Trailers"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "x"),
            ("host", "a"),
            ("accept", "*/*"),
        ]);
        assert!(remove_hop_by_hop(&mut map));
        let mut left: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "host"]);
    }

    #[test]
    fn the_shorter_deadline_wins_and_garbage_counts_as_absent() {
        let read = |pairs: &[(&'static str, &'static str)]| Marks::read(&headers(pairs)).remaining;
        assert_eq!(
            read(&[("intertie-deadline", "250"), ("grpc-timeout", "1S")]),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            read(&[("intertie-deadline", "2500"), ("grpc-timeout", "1S")]),
            Some(Duration::from_secs(1))
        );
        for garbage in ["", "-1", "1x", "S", "999999999S", "1 S"] {
            assert_eq!(read(&[("grpc-timeout", garbage)]), None, "{garbage:?}");
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let clock = WallClock::fixed(intertie_core::clock::Timestamp::from_unix_seconds(784_111_770));
        let read = |value| retry_after(&headers(&[("retry-after", value)]), &clock);
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn what_anyone_can_write_is_replaced() {
        let mut map = headers(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("traceparent", "garbage"),
            ("tracestate", "a=b"),
            ("x-correlation-id", "order-7"),
        ]);
        let (host, id) = (HeaderValue::from_static("shop"), HeaderValue::from_static("id"));
        let passage =
            Passage { client: [127, 0, 0, 1].into(), host: &host, request_id: &id, accepts_trailers: false };
        write_passage(&mut map, &passage);
        assert_eq!(map["x-forwarded-for"], "127.0.0.1");
        assert!(!map.contains_key("forwarded") && !map.contains_key("tracestate"));
        assert_eq!(map["x-correlation-id"], "order-7");
        assert!(TraceContext::parse(map["traceparent"].as_bytes()).is_some());
    }
}
