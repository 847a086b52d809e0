//! Headers that end here, and headers that begin here.

use std::net::IpAddr;
use std::time::Duration;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
pub(super) use intertie_resilience::pipeline::http::retry_after;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static INTERTIE_CLIENT_IDENTITY: HeaderName = HeaderName::from_static("intertie-client-identity");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
static GRPC_PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
static INTERTIE_DEADLINE: HeaderName = HeaderName::from_static("intertie-deadline");
static INTERTIE_ATTEMPT: HeaderName = HeaderName::from_static("intertie-attempt");
static INTERTIE_RETRY: HeaderName = HeaderName::from_static("intertie-retry");
pub(super) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What concerns only the connection that it came on; each has its place's bit in [`Present`].
static HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Which headers that concern the gateway a message may carry: found in one pass over its names, where a
/// look-up for each would cost more than all else that is done for a short message.
///
/// A header that was removed since still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Present(u32);

impl Present {
    const CONNECTION: Self = Self(1 << 0);
    const TE: Self = Self(1 << 1);
    const TRANSFER_ENCODING: Self = Self(1 << 2);
    const HOP_BY_HOP: Self = Self((1 << HOP_BY_HOP.len()) - 1);
    const FORWARDED: Self = Self(1 << 8);
    pub(super) const TRACE: Self = Self(1 << 9);
    const CORRELATION_ID: Self = Self(1 << 10);
    const GRPC_TIMEOUT: Self = Self(1 << 11);
    const INTERTIE_DEADLINE: Self = Self(1 << 12);
    const ATTEMPT: Self = Self(1 << 13);
    const COOKIE: Self = Self(1 << 14);
    pub(super) const CONTENT_LENGTH: Self = Self(1 << 15);
    const IDEMPOTENCY_KEY: Self = Self(1 << 16);
    const CLIENT_IDENTITY: Self = Self(1 << 17);

    pub(super) fn among(headers: &HeaderMap) -> Self {
        Self(headers.keys().fold(0, |bits, name| bits | Self::of(name.as_str()).0))
    }

    fn of(name: &str) -> Self {
        match name {
            "connection" => Self::CONNECTION,
            "te" => Self::TE,
            "transfer-encoding" => Self::TRANSFER_ENCODING,
            "upgrade" => Self(1 << 3),
            "proxy-authenticate" => Self(1 << 4),
            "proxy-authorization" => Self(1 << 5),
            "keep-alive" => Self(1 << 6),
            "proxy-connection" => Self(1 << 7),
            "forwarded" => Self::FORWARDED,
            "traceparent" | "tracestate" | "b3" | "x-b3-traceid" | "x-b3-spanid" | "x-b3-sampled"
            | "x-b3-flags" | "x-b3-parentspanid" => Self::TRACE,
            "x-correlation-id" => Self::CORRELATION_ID,
            "grpc-timeout" => Self::GRPC_TIMEOUT,
            "intertie-deadline" => Self::INTERTIE_DEADLINE,
            "intertie-attempt" | "grpc-previous-rpc-attempts" => Self::ATTEMPT,
            "cookie" => Self::COOKIE,
            "content-length" => Self::CONTENT_LENGTH,
            "idempotency-key" => Self::IDEMPOTENCY_KEY,
            name if begins(name, "x-forwarded-") => Self::FORWARDED,
            name if name.len() == INTERTIE_CLIENT_IDENTITY.as_str().len()
                && begins(name, INTERTIE_CLIENT_IDENTITY.as_str()) =>
            {
                Self::CLIENT_IDENTITY
            }
            _ => Self(0),
        }
    }

    /// Whether any of `others` is among them.
    pub(super) fn any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

/// Whether a header's name begins with another one. Services behind CGI, WSGI and their like read `_` as `-`,
/// so that the one would pass for the other.
fn begins(name: &str, with: &str) -> bool {
    let same = |(own, wanted): (u8, u8)| own == wanted || (own == b'_' && wanted == b'-');
    name.len() >= with.len() && name.bytes().zip(with.bytes()).all(same)
}

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
    pub(super) fn read(headers: &HeaderMap, present: Present) -> Self {
        let value = |which, name| if present.any(which) { headers.get(name) } else { None };
        let deadline = value(Present::INTERTIE_DEADLINE, &INTERTIE_DEADLINE).and_then(number);
        let grpc = value(Present::GRPC_TIMEOUT, &GRPC_TIMEOUT).and_then(grpc_timeout);
        let attempt = value(Present::ATTEMPT, &INTERTIE_ATTEMPT).and_then(number).unwrap_or(1);
        let grpc_previous = value(Present::ATTEMPT, &GRPC_PREVIOUS_ATTEMPTS).and_then(number).unwrap_or(0);
        Self {
            remaining: [deadline.map(Duration::from_millis), grpc].into_iter().flatten().min(),
            is_repetition: attempt > 1 || grpc_previous > 0,
            has_idempotency_key: value(Present::IDEMPOTENCY_KEY, &IDEMPOTENCY_KEY).is_some(),
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

/// Removes what concerns only the connection it came on (RFC 9110, section 7.6.1). True when the sender
/// understands trailers.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap, present: Present) -> bool {
    if !present.any(Present::HOP_BY_HOP) {
        return false;
    }
    let accepts_trailers =
        present.any(Present::TE) && list(headers, &TE).any(|part| part.eq_ignore_ascii_case("trailers"));
    if present.any(Present::CONNECTION) {
        // What nearly every `Connection` says names no header that would not go anyway.
        let named: Vec<_> = list(headers, &CONNECTION)
            .filter(|part| !part.eq_ignore_ascii_case("keep-alive") && !part.eq_ignore_ascii_case("close"))
            .filter_map(|part| HeaderName::from_bytes(part.as_bytes()).ok())
            // `Connection: host` must not take away what routing, framing and trust stand on.
            .filter(|name| ![HOST, CONTENT_LENGTH].contains(name) && *name != INTERTIE_CLIENT_IDENTITY)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    if present.any(Present::TRANSFER_ENCODING) {
        // Of two framings that one counts (RFC 9112, section 6.3); the other would cut the body off.
        headers.remove(CONTENT_LENGTH);
    }
    for (bit, name) in HOP_BY_HOP.iter().enumerate() {
        if present.any(Present(1 << bit)) {
            headers.remove(name);
        }
    }
    accepts_trailers
}

/// The parts of a header that is a list.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// What the gateway knows of a request when it passes it on.
#[derive(Debug)]
pub(super) struct Passage<'a> {
    pub(super) client: &'a HeaderValue,
    pub(super) host: HeaderValue,
    pub(super) scheme: &'static str,
    pub(super) request_id: &'a HeaderValue,
    pub(super) accepts_trailers: bool,
}

/// Writes the headers that a service gets from the gateway, besides its `Host`. The client's own
/// `X-Forwarded-*` and `Forwarded` are replaced: anyone can write them.
pub(super) fn write_passage(headers: &mut HeaderMap, present: Present, passage: Passage<'_>) {
    if present.any(Present::FORWARDED) {
        remove(headers, Present::FORWARDED);
    }
    headers.insert(&X_FORWARDED_FOR, passage.client.clone());
    headers.insert(&X_FORWARDED_HOST, passage.host);
    headers.insert(&X_FORWARDED_PROTO, HeaderValue::from_static(passage.scheme));
    headers.insert(&REQUEST_ID, passage.request_id.clone());
    let correlated = present.any(Present::CORRELATION_ID)
        && headers
            .get(&CORRELATION_ID)
            .is_some_and(|id| !id.is_empty() && id.len() <= CORRELATION_ID_BYTES_MAX && id.to_str().is_ok());
    if !correlated {
        headers.insert(&CORRELATION_ID, passage.request_id.clone());
    }
    if passage.accepts_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Replaces the identity that a client claims by the one that its certificate proves, before a route or a
/// limiter decides by it.
pub(super) fn write_identity(headers: &mut HeaderMap, present: Present, proved: Option<&HeaderValue>) {
    if present.any(Present::CLIENT_IDENTITY) {
        remove(headers, Present::CLIENT_IDENTITY);
    }
    if let Some(identity) = proved {
        headers.insert(&INTERTIE_CLIENT_IDENTITY, identity.clone());
    }
}

/// Removes from a client's trailers what only the gateway may say: many services take them for headers.
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    remove(trailers, Present(Present::FORWARDED.0 | Present::CLIENT_IDENTITY.0));
}

fn remove(headers: &mut HeaderMap, which: Present) {
    let foreign = |name: &&HeaderName| Present::of(name.as_str()).any(which);
    let foreign: Vec<_> = headers.keys().filter(foreign).cloned().collect();
    for name in foreign {
        headers.remove(name);
    }
}

/// Joins the cookies of HTTP/2, which may come as several headers, into the one that HTTP/1.1 knows
/// (RFC 9113, section 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap, present: Present) {
    if !present.any(Present::COOKIE) {
        return;
    }
    let cookies: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// Says how a body without a length is framed: without it, hyper sends a GET's body not at all.
pub(super) fn frame_body(headers: &mut HeaderMap, present: Present) {
    if !present.any(Present::CONTENT_LENGTH) {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Tells the service how long it may take and which attempt this is.
pub(super) fn write_marks(
    headers: &mut HeaderMap,
    present: Present,
    remaining: Option<Duration>,
    attempt: u32,
) {
    match remaining {
        Some(remaining) => {
            let millis = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
            headers.insert(&INTERTIE_DEADLINE, HeaderValue::from(millis));
            if present.any(Present::GRPC_TIMEOUT)
                && let Ok(value) = HeaderValue::try_from(format!("{}m", millis.min(99_999_999)))
            {
                headers.insert(&GRPC_TIMEOUT, value);
            }
        }
        // Nothing bounds this call, so what the client wrote there was no duration.
        None => {
            for (which, name) in
                [(Present::INTERTIE_DEADLINE, &INTERTIE_DEADLINE), (Present::GRPC_TIMEOUT, &GRPC_TIMEOUT)]
            {
                if present.any(which) {
                    headers.remove(name);
                }
            }
        }
    }
    let attempt = if attempt == 1 { HeaderValue::from_static("1") } else { HeaderValue::from(attempt) };
    headers.insert(&INTERTIE_ATTEMPT, attempt);
}

/// Whether a tier further down has used up its retries for this answer.
pub(super) fn is_exhausted(headers: &HeaderMap) -> bool {
    headers.get(&INTERTIE_RETRY).is_some_and(|value| value == "exhausted")
}

/// Tells the caller that trying again is what we already did.
pub(super) fn mark_exhausted(headers: &mut HeaderMap) {
    headers.insert(&INTERTIE_RETRY, HeaderValue::from_static("exhausted"));
}

/// An address as `X-Forwarded-For` says it.
pub(super) fn address_value(address: IpAddr) -> HeaderValue {
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
    fn each_hop_by_hop_header_has_its_places_bit() {
        for (place, name) in HOP_BY_HOP.iter().enumerate() {
            assert_eq!(Present::of(name.as_str()), Present(1 << place), "{name}");
        }
        assert_eq!(Present::CONNECTION, Present::of(CONNECTION.as_str()));
        assert_eq!(Present::TE, Present::of(TE.as_str()));
    }

    #[test]
    fn a_deadline_that_is_none_is_not_handed_on() {
        let mut map = headers(&[("intertie-deadline", "soon"), ("grpc-timeout", "1x")]);
        let present = Present::among(&map);
        write_marks(&mut map, present, None, 2);
        assert_eq!(map, headers(&[("intertie-attempt", "2")]));
        let mut map = headers(&[("intertie-deadline", "soon"), ("grpc-timeout", "1x")]);
        write_marks(&mut map, present, Some(Duration::from_millis(1_500)), 1);
        assert_eq!(map["intertie-deadline"], "1500");
        assert_eq!(map["grpc-timeout"], "1500m");
    }

    #[test]
    fn hop_by_hop_headers_end_here() {
        let mut map = headers(&[
            ("connection", "close, x-secret, host, intertie-client-identity"),
            ("intertie-client-identity", "dns:orders"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip, Trailers"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "x"),
            ("host", "a"),
            ("accept", "*/*"),
        ]);
        let present = Present::among(&map);
        assert!(remove_hop_by_hop(&mut map, present));
        let mut left: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "host", "intertie-client-identity"]);

        let mut both = headers(&[("content-length", "5"), ("transfer-encoding", "chunked")]);
        let present = Present::among(&both);
        remove_hop_by_hop(&mut both, present);
        assert!(both.is_empty(), "one framing is enough: {both:?}");
    }

    #[test]
    fn the_shorter_deadline_wins_and_garbage_counts_as_absent() {
        let read = |pairs: &[(&'static str, &'static str)]| {
            let headers = headers(pairs);
            Marks::read(&headers, Present::among(&headers)).remaining
        };
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
    fn what_anyone_can_write_is_replaced() {
        let mut map = headers(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("x_forwarded-for", "6.6.6.6"),
            ("x-correlation-id", "order-7"),
        ]);
        let (client, id) = (address_value([127, 0, 0, 1].into()), HeaderValue::from_static("id"));
        let host = HeaderValue::from_static("shop");
        let passage =
            Passage { client: &client, host, request_id: &id, scheme: "https", accepts_trailers: false };
        let present = Present::among(&map);
        write_passage(&mut map, present, passage);
        assert_eq!(map["x-forwarded-for"], "127.0.0.1");
        assert_eq!(map["x-forwarded-proto"], "https");
        for name in ["forwarded", "x_forwarded-for"] {
            assert!(!map.contains_key(name), "{name}");
        }
        assert_eq!(map["x-correlation-id"], "order-7");
    }

    #[test]
    fn a_claimed_identity_gives_way_to_the_proved_one() {
        let claims = [
            ("intertie-client-identity", "dns:root"),
            ("intertie_client_identity", "dns:root"),
            ("intertie-client-identity-2", "mine"),
        ];
        for proved in [None, Some(HeaderValue::from_static("dns:orders"))] {
            let mut map = headers(&claims);
            let present = Present::among(&map);
            write_identity(&mut map, present, proved.as_ref());
            assert_eq!(map.get("intertie-client-identity"), proved.as_ref());
            assert_eq!(map.get("intertie_client_identity"), None);
            assert_eq!(map["intertie-client-identity-2"], "mine");
            clean_trailers(&mut map);
            assert_eq!(map.len(), 1, "{map:?}");
        }
    }
}
