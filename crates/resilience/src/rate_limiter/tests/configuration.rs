use super::*;

#[test]
fn configs_read_and_refuse() {
    let read = |json| serde_json::from_str::<RateLimiterConfig>(json);
    let by_header = read(r#"{ "limit": "100/s", "by": "header:X-Tenant" }"#).expect("valid");
    assert_eq!(by_header.by, LimitBy::Header("x-tenant".to_owned()));
    assert_eq!(by_header.capacity(), 100);
    assert!(read(r#"{ "limit": "100/s", "by": "moon" }"#).is_err());
    assert!(read(r#"{ "burst": 5 }"#).is_err(), "limit is required");
    let contradictory = RateLimiterConfig {
        algorithm: Algorithm::SlidingWindow,
        burst: NonZeroU64::new(5),
        ..RateLimiterConfig::new(rate("1/s"))
    };
    assert_eq!(contradictory.validate().expect_err("no burst").field, "burst");
    let endless =
        RateLimiterConfig { burst: NonZeroU64::new(u64::MAX), ..RateLimiterConfig::new(rate("1/h")) };
    assert_eq!(endless.validate().expect_err("too long").field, "burst");
    assert_eq!(RateLimiterConfig::new(rate("1/s")).keys_max, NonZeroU32::new(100_000).expect("not zero"));
}

#[test]
fn new_settings_are_refused_where_they_can_not_work() {
    let config = |algorithm| RateLimiterConfig { algorithm, ..RateLimiterConfig::new(rate("100/s")) };
    let bucket = || config(Algorithm::TokenBucket);
    let lease = NonZeroU32::new(16);
    let refused = |config: RateLimiterConfig| config.validate().expect_err("contradictory");
    for algorithm in [Algorithm::SlidingWindow, Algorithm::SlidingWindowLog, Algorithm::FixedWindow] {
        assert_eq!(refused(RateLimiterConfig { lease, ..config(algorithm) }).field, "lease");
        assert_eq!(refused(RateLimiterConfig { queue: 1, ..config(algorithm) }).field, "queue");
        let burst = RateLimiterConfig { burst: NonZeroU64::new(5), ..config(algorithm) };
        assert!(refused(burst).problem.contains(algorithm.name()));
    }
    assert!(RateLimiterConfig { lease, ..bucket() }.validate().is_ok());
    assert_eq!(refused(RateLimiterConfig { lease, queue: 1, ..bucket() }).field, "lease");
    assert_eq!(refused(RateLimiterConfig { lease, by: LimitBy::ClientAddress, ..bucket() }).field, "lease");
    assert_eq!(refused(RateLimiterConfig { lease: NonZeroU32::new(101), ..bucket() }).field, "lease");
    let logged =
        |amount| RateLimiterConfig { limit: per_second(amount), ..config(Algorithm::SlidingWindowLog) };
    assert!(logged(10_000).validate().is_ok());
    assert_eq!(refused(logged(10_001)).field, "limit");
}

#[test]
fn overrides_read_and_refuse() {
    let read = |json| serde_json::from_str::<RateLimiterConfig>(json);
    let config = read(r#"{ "limit": "1/s", "overrides": { "alice": { "limit": "9/s", "burst": 20 } } }"#)
        .expect("valid");
    assert_eq!(config.overrides["alice"].capacity(), 20);
    let written = serde_json::to_value(&config).expect("text");
    assert_eq!(written["overrides"]["alice"]["limit"], "9/s");
    assert!(read(r#"{ "limit": "1/s", "overrides": { "alice": { "rate": "9/s" } } }"#).is_err());
    let named = |by, caller: &str, quota: QuotaOverride| RateLimiterConfig {
        by,
        overrides: [(caller.to_owned(), quota)].into(),
        ..RateLimiterConfig::new(rate("1/s"))
    };
    let plain = QuotaOverride { limit: rate("9/s"), burst: None };
    assert!(named(LimitBy::ClientAddress, "::1", plain).validate().is_ok());
    let no_address = named(LimitBy::ClientAddress, "alice", plain).validate().expect_err("no address");
    assert_eq!(no_address.field, "overrides");
    let endless = QuotaOverride { limit: rate("1/h"), burst: NonZeroU64::new(u64::MAX) };
    let problem = named(LimitBy::All, "alice", endless).validate().expect_err("too long").problem;
    assert!(problem.contains("`burst` of `alice`"), "{problem}");
}

#[test]
fn a_file_without_the_new_keys_reads_and_writes_as_before() {
    let config: RateLimiterConfig = serde_json::from_str(r#"{ "limit": "1/s" }"#).expect("valid");
    assert_eq!(config, RateLimiterConfig::new(rate("1/s")));
    let written = serde_json::to_value(&config).expect("text");
    let keys: Vec<&str> = written.as_object().expect("a table").keys().map(String::as_str).collect();
    assert_eq!(keys, ["algorithm", "by", "count", "keys_max", "limit"]);
}
