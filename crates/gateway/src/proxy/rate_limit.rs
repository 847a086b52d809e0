//! `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers): what a route's limiters leave to
//! the client.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use intertie_resilience::rate_limiter::{Count, Quota};

static RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What the limiters of a call answered: those that count calls, and those that count attempts, the last time.
#[derive(Debug, Default)]
pub(super) struct Told([Option<HeaderValue>; 2]);

impl Told {
    /// Notes the items that the limiters answered which count `what`.
    pub(super) fn note(&mut self, what: Count, items: &[u8]) {
        if let Ok(value) = HeaderValue::from_bytes(items)
            && !items.is_empty()
        {
            self.0[what as usize] = Some(value);
        }
    }

    /// Adds both fields to an answer; a service may have its own beside them.
    pub(super) fn write(&mut self, headers: &mut HeaderMap, policy: Option<&HeaderValue>) {
        let mut any = false;
        for value in self.0.iter_mut().filter_map(Option::take) {
            any = true;
            headers.append(&RATELIMIT, value);
        }
        if let Some(policy) = policy.filter(|_| any) {
            headers.append(&RATELIMIT_POLICY, policy.clone());
        }
    }
}

/// Adds the item of one limiter to `items`: the calls `r` that are left and the seconds `t` until all are back.
pub(super) fn push_item(items: &mut Vec<u8>, told_as: &str, quota: Quota) {
    if !items.is_empty() {
        items.extend_from_slice(b", ");
    }
    items.extend_from_slice(told_as.as_bytes());
    items.extend_from_slice(b";r=");
    push_number(items, quota.remaining.min(INTEGER_MAX));
    items.extend_from_slice(b";t=");
    push_number(items, whole_seconds(quota.reset).min(INTEGER_MAX));
}

/// The largest integer of a structured field (RFC 9651, section 3.3.1).
const INTEGER_MAX: u64 = 999_999_999_999_999;

/// Rounded up, so that nobody comes too early.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// Written by hand: formatting would cost as much as all of the rest.
fn push_number(text: &mut Vec<u8>, mut number: u64) {
    let begin = text.len();
    loop {
        text.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text[begin..].reverse();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn items_are_listed_and_seconds_rounded_up() {
        let mut items = Vec::new();
        push_item(&mut items, "\"default\"", Quota { remaining: 0, reset: Duration::from_millis(1_001) });
        push_item(&mut items, "\"plan\"", Quota { remaining: u64::MAX, reset: Duration::ZERO });
        let text = String::from_utf8(items).expect("ASCII");
        assert_eq!(text, "\"default\";r=0;t=2, \"plan\";r=999999999999999;t=0");
    }

    #[test]
    fn the_last_word_counts_and_the_services_own_stays() {
        let mut told = Told::default();
        told.note(Count::Attempts, b"\"default\";r=2;t=1");
        told.note(Count::Attempts, b"\"default\";r=1;t=2");
        told.note(Count::Calls, b"\"plan\";r=4;t=3");
        told.note(Count::Calls, b"");
        let mut headers = HeaderMap::new();
        headers.insert(&RATELIMIT, HeaderValue::from_static("\"service\";r=9"));
        let policy = HeaderValue::from_static("\"plan\";q=5;w=5");
        told.write(&mut headers, Some(&policy));
        let said: Vec<_> = headers.get_all(&RATELIMIT).iter().collect();
        assert_eq!(said, ["\"service\";r=9", "\"plan\";r=4;t=3", "\"default\";r=1;t=2"]);
        assert_eq!(headers[&RATELIMIT_POLICY], policy);
        told.write(&mut headers, Some(&policy));
        assert_eq!(headers.get_all(&RATELIMIT_POLICY).iter().count(), 1, "nothing was left to tell");
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_everyone_does(number: u64) {
            let mut text = Vec::new();
            push_number(&mut text, number);
            prop_assert_eq!(String::from_utf8(text).expect("ASCII"), number.to_string());
        }
    }
}
