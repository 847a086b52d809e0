//! What a request says about itself to policies, here and in the service.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

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

/// Tells the service how long it may take and which attempt this is.
pub(in crate::proxy) fn write_marks(
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
pub(in crate::proxy) fn is_exhausted(headers: &HeaderMap) -> bool {
    headers.get(&INTERTIE_RETRY).is_some_and(|value| value == "exhausted")
}

/// Tells the caller that trying again is what we already did.
pub(in crate::proxy) fn mark_exhausted(headers: &mut HeaderMap) {
    headers.insert(&INTERTIE_RETRY, HeaderValue::from_static("exhausted"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::headers::headers;

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
}
