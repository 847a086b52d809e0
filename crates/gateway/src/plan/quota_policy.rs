//! How the limiters of a route are told to clients, in structured fields (RFC 9651) of
//! draft-ietf-httpapi-ratelimit-headers. Pure.

use std::borrow::Cow;

use intertie_resilience::RateLimiterConfig;

use super::runtime::RouteLimiter;
use intertie_core::percent::encoded;

/// The name of a limiter in both fields, as a string of a structured field: that of its `[limit.NAME]`, or
/// `default` for the route's own. A name has no room for more than printable ASCII; the rest is escaped as in
/// URLs.
pub(super) fn told_as(shared: Option<&str>) -> Cow<'static, str> {
    let Some(name) = shared else { return Cow::Borrowed("\"default\"") };
    let printable = encoded(name.as_bytes(), |byte| matches!(byte, b' '..=b'~'));
    Cow::Owned(format!("\"{}\"", printable.replace('\\', r"\\").replace('"', r#"\""#)))
}

/// `RateLimit-Policy` of a route with these limiters. A limiter under which some callers have a quota of their
/// own is left out: the field says the same to all.
pub(super) fn policy(limiters: &[RouteLimiter]) -> Option<String> {
    let same_for_all = limiters.iter().filter(|limiter| limiter.limiter.config().overrides.is_empty());
    let items: Vec<_> =
        same_for_all.map(|limiter| item(&limiter.told_as, limiter.limiter.config())).collect();
    (!items.is_empty()).then(|| items.join(", "))
}

/// The quota `q` that is there at once, and the window `w` in whole seconds, rounded up, in which it is used and
/// comes back.
fn item(told_as: &str, config: &RateLimiterConfig) -> String {
    let quota = config.capacity();
    let nanos = config.limit.period().as_nanos() * u128::from(quota) / u128::from(config.limit.amount());
    format!("{told_as};q={quota};w={}", nanos.div_ceil(1_000_000_000))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    fn check(limit: &str, burst: Option<u64>, expected: &str) {
        let burst = burst.and_then(NonZeroU64::new);
        let config = RateLimiterConfig { burst, ..RateLimiterConfig::new(limit.parse().expect("a rate")) };
        assert_eq!(item("\"default\"", &config), format!("\"default\";{expected}"), "{limit} {burst:?}");
    }

    #[test]
    fn the_window_is_that_of_the_quota_and_never_too_short() {
        check("5/min", None, "q=5;w=60");
        check("100/s", None, "q=100;w=1");
        check("100/s", Some(200), "q=200;w=2");
        check("100/s", Some(150), "q=150;w=2");
        check("10/250ms", None, "q=10;w=1");
        check("1000/h", Some(1), "q=1;w=4");
    }

    #[test]
    fn any_name_is_a_string_of_a_structured_field() {
        assert_eq!(told_as(None), r#""default""#);
        assert_eq!(told_as(Some("plan")), r#""plan""#);
        assert_eq!(told_as(Some("a \"b\" \\ \u{fc}\n")), r#""a \"b\" \\ %C3%BC%0A""#);
    }
}
