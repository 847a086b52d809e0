use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::quantity::Rate;
use proptest::prelude::*;

use super::*;

const NOW: Instant = Instant::from_nanos(60_000_000_000_000);

fn rate(text: &str) -> Rate {
    text.parse().expect("a rate")
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn admits<L: Limit>(limit: &L, state: &mut L::State, now: Instant, cost: u64) -> bool {
    matches!(limit.decide(state, now, cost), Decision::Admitted { .. })
}

#[test]
fn a_bucket_gives_its_burst_then_the_rate() {
    let bucket = TokenBucket::new(rate("10/s"), 20);
    let mut state = Instant::default();
    assert_eq!((0..100).filter(|_| admits(&bucket, &mut state, NOW, 1)).count(), 20);
    let rejected = bucket.decide(&mut state, NOW, 1);
    assert_eq!(rejected, Decision::Rejected { retry_after: Some(ms(100)) });
    assert!(!admits(&bucket, &mut state, NOW + ms(99), 1));
    let admitted = bucket.decide(&mut state, NOW + ms(1_100), 1);
    assert_eq!(admitted, Decision::Admitted { remaining: 10, reset: ms(1_000) });
}

#[test]
fn a_cost_that_never_fits_is_told_so_at_once() {
    let bucket = TokenBucket::new(rate("10/s"), 20);
    assert_eq!(bucket.decide(&mut Instant::default(), NOW, 21), Decision::Rejected { retry_after: None });
    let window = SlidingWindow::new(rate("10/s"));
    let never = window.decide(&mut WindowState::default(), NOW, 11);
    assert_eq!(never, Decision::Rejected { retry_after: None });
}

#[test]
fn a_sliding_window_weighs_the_window_before() {
    let window = SlidingWindow::new(rate("100/min"));
    let mut state = WindowState::default();
    for _ in 0..80 {
        assert!(admits(&window, &mut state, NOW + ms(30_000), 1));
    }
    let next = NOW + ms(60_000);
    for _ in 0..30 {
        assert!(admits(&window, &mut state, next + ms(14_000), 1));
    }
    // 80 × 45/60 + 30 + 1 = 91
    let seen = window.decide(&mut state, next + ms(15_000), 1);
    assert!(matches!(seen, Decision::Admitted { remaining: 9, .. }), "{seen:?}");
}

#[test]
fn keys_beyond_the_bound_share_one_quota_until_others_are_idle() {
    let mut keyed = Keyed::new(TokenBucket::new(rate("1/s"), 1), 2);
    let mut admits = |key, now| matches!(keyed.decide(key, now, 1), Decision::Admitted { .. });
    assert!(admits(1, NOW) && admits(2, NOW), "two keys have their own");
    assert!(admits(3, NOW) && !admits(4, NOW), "the strangers share one");
    assert!(!admits(1, NOW));
    assert!(admits(3, NOW + ms(1_000)) && admits(4, NOW + ms(1_000)), "idle keys made room");
    assert!(keyed.len() <= 2);
}

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

proptest! {
    /// The bucket against one that counts tokens in nanoseconds of refill.
    #[test]
    fn a_bucket_equals_counted_tokens(
        amount in 1_u64..200,
        burst in 1_u64..50,
        steps in prop::collection::vec((0_u64..200_000_000, 1_u64..6), 1..200),
    ) {
        let bucket = TokenBucket::new(Rate::new(amount, Duration::from_secs(1)).expect("valid"), burst);
        let interval = 1_000_000_000_u64.div_ceil(amount);
        let mut state = Instant::default();
        let (mut tokens, mut now) = (burst * interval, NOW);
        for (step, cost) in steps {
            now = now + Duration::from_nanos(step);
            tokens = (tokens + step).min(burst * interval);
            match bucket.decide(&mut state, now, cost) {
                Decision::Admitted { remaining, reset } => {
                    prop_assert!(tokens >= cost * interval);
                    tokens -= cost * interval;
                    prop_assert_eq!(remaining, tokens / interval);
                    prop_assert_eq!(reset, Duration::from_nanos(burst * interval - tokens));
                }
                Decision::Rejected { retry_after: None } => prop_assert!(cost > burst),
                Decision::Rejected { retry_after: Some(wait) } => {
                    prop_assert_eq!(wait, Duration::from_nanos(cost * interval - tokens));
                }
            }
        }
    }

    /// The window against a log of calls; its hint is neither early nor late.
    #[test]
    fn a_window_equals_its_log(
        amount in 1_u64..40,
        steps in prop::collection::vec((0_u64..400_000_000, 1_u64..4), 1..200),
    ) {
        const WINDOW: u64 = 1_000_000_000;
        let window = SlidingWindow::new(Rate::new(amount, Duration::from_nanos(WINDOW)).expect("valid"));
        let mut state = WindowState::default();
        let mut log: Vec<(u64, u64)> = Vec::new();
        let mut now = NOW;
        for (step, cost) in steps {
            now = now + Duration::from_nanos(step);
            let index = now.as_nanos() / WINDOW;
            let sum = |of: u64| log.iter().filter(|(window, _)| *window == of).map(|(_, cost)| cost).sum::<u64>();
            let left = WINDOW - now.as_nanos() % WINDOW;
            let weighted = (u128::from(sum(index - 1)) * u128::from(left)).div_ceil(u128::from(WINDOW)) as u64;
            let fits = weighted + sum(index) + cost <= amount;
            let before = state;
            match window.decide(&mut state, now, cost) {
                Decision::Admitted { remaining, .. } => {
                    prop_assert!(fits);
                    prop_assert_eq!(remaining, amount - weighted - sum(index) - cost);
                    log.push((index, cost));
                }
                Decision::Rejected { retry_after: None } => prop_assert!(cost > amount),
                Decision::Rejected { retry_after: Some(wait) } => {
                    prop_assert!(!fits && wait > Duration::ZERO);
                    prop_assert!(admits(&window, &mut before.clone(), now + wait, cost), "the hint is too early");
                    let early = now + (wait - Duration::from_nanos(1));
                    prop_assert!(!admits(&window, &mut before.clone(), early, cost), "the hint is too late");
                }
            }
        }
    }
}
