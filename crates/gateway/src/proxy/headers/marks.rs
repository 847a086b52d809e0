//! What a request says about itself to policies, here and in the service.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use intertie_resilience::pipeline::http::remaining;

use super::Present;

static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
static GRPC_PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
static INTERTIE_DEADLINE: HeaderName = HeaderName::from_static("intertie-deadline");
static INTERTIE_ATTEMPT: HeaderName = HeaderName::from_static("intertie-attempt");
static INTERTIE_RETRY: HeaderName = HeaderName::from_static("intertie-retry");

/// What a request says about itself to the policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) struct Marks {
    /// The time that the caller leaves.
    pub(in crate::proxy) remaining: Option<Duration>,
    /// Whether the caller already tried before.
    pub(in crate::proxy) is_repetition: bool,
    /// Whether it carries an idempotency key.
    pub(in crate::proxy) has_idempotency_key: bool,
}

impl Marks {
    /// Reads the marks; those that are malformed count as absent.
    pub(in crate::proxy) fn read(headers: &HeaderMap, present: Present) -> Self {
        let value = |which, name| if present.any(which) { headers.get(name) } else { None };
        let attempt = value(Present::ATTEMPT, &INTERTIE_ATTEMPT).and_then(number).unwrap_or(1);
        let grpc_previous = value(Present::ATTEMPT, &GRPC_PREVIOUS_ATTEMPTS).and_then(number).unwrap_or(0);
        Self {
            remaining: if present.any(Present::TIME) { remaining(headers) } else { None },
            is_repetition: attempt > 1 || grpc_previous > 0,
            has_idempotency_key: value(Present::IDEMPOTENCY_KEY, &IDEMPOTENCY_KEY).is_some(),
        }
    }
}

/// A number as HTTP and gRPC write it. `parse` alone would take a sign.
fn number(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?.trim();
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Tells the service how long it may take and which attempt this is, a gRPC service as gRPC does.
pub(in crate::proxy) fn write_marks(
    headers: &mut HeaderMap,
    present: Present,
    remaining: Option<Duration>,
    attempt: u32,
) {
    let is_grpc = present.any(Present::GRPC);
    // Nothing that the client wrote of the time holds any more, or was a duration at all.
    match remaining {
        Some(remaining) if !is_grpc => {
            headers.insert(&INTERTIE_DEADLINE, HeaderValue::from(millis(remaining)));
        }
        _ if present.any(Present::INTERTIE_DEADLINE) => drop(headers.remove(&INTERTIE_DEADLINE)),
        _ => {}
    }
    match remaining {
        Some(remaining) if is_grpc || present.any(Present::GRPC_TIMEOUT) => {
            headers.insert(&GRPC_TIMEOUT, grpc_timeout_value(remaining));
        }
        _ if present.any(Present::GRPC_TIMEOUT) => drop(headers.remove(&GRPC_TIMEOUT)),
        _ => {}
    }
    if is_grpc && attempt > 1 {
        let before = headers.get(&GRPC_PREVIOUS_ATTEMPTS).and_then(number).unwrap_or(0);
        let previous = before.saturating_add(u64::from(attempt) - 1);
        headers.insert(&GRPC_PREVIOUS_ATTEMPTS, HeaderValue::from(previous));
    }
    let attempt = if attempt == 1 { HeaderValue::from_static("1") } else { HeaderValue::from(attempt) };
    headers.insert(&INTERTIE_ATTEMPT, attempt);
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// As exact as eight digits allow, and above zero, which gRPC does not know.
fn grpc_timeout_value(duration: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let (amount, unit) = match duration {
        short if short < Duration::from_millis(1) => (short.as_micros().max(1), 'u'),
        long if long.as_millis() > MOST => (u128::from(long.as_secs()).min(MOST), 'S'),
        usual => (usual.as_millis(), 'm'),
    };
    HeaderValue::try_from(format!("{amount}{unit}")).unwrap_or_else(|_| HeaderValue::from_static("1u"))
}

/// Tells the caller that trying again is what we already did.
pub(in crate::proxy) fn mark_exhausted(headers: &mut HeaderMap) {
    headers.insert(&INTERTIE_RETRY, HeaderValue::from_static("exhausted"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::headers::headers;

    const SECOND: Duration = Duration::from_secs(1);

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
    fn a_grpc_service_is_told_in_the_words_of_grpc() {
        let sent = [("content-type", "application/grpc"), ("intertie-deadline", "9"), ("grpc-timeout", "7S")];
        let told = |remaining, attempt, before: &[(&'static str, &'static str)]| {
            let mut map = headers(&[&sent[..], before].concat());
            let present = Present::among(&map);
            write_marks(&mut map, present, remaining, attempt);
            assert_eq!(map.get("intertie-deadline"), None, "it was for us");
            let said = |name: &str| map.get(name).map(|value| value.to_str().expect("ASCII").to_owned());
            (said("grpc-timeout"), said("grpc-previous-rpc-attempts"))
        };
        let timeout = |remaining| told(Some(remaining), 1, &[]).0.expect("a timeout");
        assert_eq!(timeout(SECOND * 3 / 2), "1500m");
        assert_eq!(timeout(Duration::from_micros(999)), "999u");
        assert_eq!(timeout(Duration::ZERO), "1u");
        assert_eq!(timeout(Duration::from_millis(99_999_999)), "99999999m");
        assert_eq!(timeout(Duration::from_millis(100_000_000)), "100000S");
        assert_eq!(timeout(Duration::MAX), "99999999S");
        assert_eq!(told(None, 1, &[]), (None, None));
        assert_eq!(told(None, 3, &[]).1.as_deref(), Some("2"));
        assert_eq!(told(None, 2, &[("grpc-previous-rpc-attempts", "4")]).1.as_deref(), Some("5"));
        assert_eq!(told(None, 1, &[("grpc-previous-rpc-attempts", "4")]).1.as_deref(), Some("4"));
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
        for (text, time) in [
            ("2H", 7200 * SECOND),
            ("3M", 180 * SECOND),
            ("99999999S", 99_999_999 * SECOND),
            ("250m", SECOND / 4),
            ("1000000u", SECOND),
            ("5n", SECOND / 200_000_000),
        ] {
            assert_eq!(read(&[("grpc-timeout", text)]), Some(time), "{text}");
        }
        for garbage in ["", "-1", "1x", "S", "999999999S", "1 S", "+5S", "1.5S", "1s"] {
            assert_eq!(read(&[("grpc-timeout", garbage)]), None, "{garbage:?}");
        }
    }
}
