use std::net::{IpAddr, Ipv4Addr};

use super::*;

fn named(by: LimitBy, caller: &str) -> RateLimiterConfig {
    let quota = QuotaOverride { limit: rate("4/s"), burst: NonZeroU64::new(5) };
    RateLimiterConfig {
        by,
        overrides: [(caller.to_owned(), quota)].into(),
        ..RateLimiterConfig::new(rate("1/s"))
    }
}

fn with(algorithm: Algorithm, amount: u64) -> RateLimiter {
    limiter(RateLimiterConfig { algorithm, ..RateLimiterConfig::new(per_second(amount)) })
}

const ALGORITHMS: [Algorithm; 4] =
    [Algorithm::TokenBucket, Algorithm::SlidingWindow, Algorithm::SlidingWindowLog, Algorithm::FixedWindow];

#[test]
fn no_key_is_one_caller_more() {
    for algorithm in ALGORITHMS {
        let limiter = with(algorithm, 2);
        let admitted = |key: Option<&str>| match key {
            Some(key) => limiter.try_acquire(key, NOW, 1).is_ok(),
            None => limiter.try_acquire((), NOW, 1).is_ok(),
        };
        assert_eq!([None, None, None].map(admitted), [true, true, false], "{algorithm:?}");
        assert_eq!([Some("a"), Some("a"), Some("a")].map(admitted), [true, true, false], "{algorithm:?}");
        let stats = limiter.stats();
        assert_eq!((stats.admitted, stats.rejected, stats.keys), (4, 2, 2), "{algorithm:?}");
    }
}

#[test]
fn a_leased_limiter_counts_keys_as_the_exact_one() {
    let lease = NonZeroU32::new(2);
    let limiter = limiter(RateLimiterConfig { lease, ..RateLimiterConfig::new(rate("4/s")) });
    assert_eq!(limiter.stats().keys, 0);
    assert_eq!((0..9).filter(|_| limiter.try_acquire((), NOW, 1).is_ok()).count(), 4);
    assert_eq!((0..9).filter(|_| limiter.try_acquire("a", NOW, 1).is_ok()).count(), 4);
    assert_eq!(limiter.stats().keys, 2);
}

#[test]
fn threads_admit_exactly_the_limit_and_count_every_call() {
    for algorithm in ALGORITHMS {
        let limiter = with(algorithm, 1_000);
        std::thread::scope(|scope| {
            // More threads than have a line of their own to count on.
            for _ in 0..12 {
                scope.spawn(|| (0..500).filter(|_| limiter.try_acquire((), NOW, 1).is_ok()).count());
            }
        });
        let stats = limiter.stats();
        assert_eq!((stats.admitted, stats.rejected), (1_000, 5_000), "{algorithm:?}");
    }
}

#[test]
fn callers_that_the_settings_name_have_their_own_limit() {
    let count = |admits: &dyn Fn() -> bool| (0..9).filter(|_| admits()).count();
    let by_text = limiter(named(LimitBy::All, "alice"));
    assert_eq!(count(&|| by_text.try_acquire("alice", NOW, 1).is_ok()), 5);
    assert_eq!(count(&|| by_text.try_acquire("bob", NOW, 1).is_ok()), 1);
    assert_eq!(count(&|| by_text.try_acquire("alice", NOW + ms(1_000), 1).is_ok()), 4);
    assert_eq!(by_text.stats().keys, 2);

    let by_address = limiter(named(LimitBy::ClientAddress, "10.0.0.7"));
    let address = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
    assert_eq!(count(&|| by_address.try_acquire(address(7), NOW, 1).is_ok()), 5);
    assert_eq!(count(&|| by_address.try_acquire(address(8), NOW, 1).is_ok()), 1);

    let by_header = limiter(named(LimitBy::Header("x-tenant".to_owned()), "alice"));
    assert_eq!(count(&|| by_header.try_acquire(Some(b"alice".as_slice()), NOW, 1).is_ok()), 5);
    assert_eq!(count(&|| by_header.try_acquire(Some(b"bob".as_slice()), NOW, 1).is_ok()), 1);
    assert_eq!(count(&|| by_header.try_acquire(None::<&[u8]>, NOW, 1).is_ok()), 1);
}

#[test]
fn named_callers_need_no_room_among_the_others() {
    let keys_max = NonZeroU32::MIN;
    let limiter = limiter(RateLimiterConfig { keys_max, ..named(LimitBy::All, "alice") });
    assert!(limiter.try_acquire("bob", NOW, 1).is_ok(), "the only remembered one");
    assert!(limiter.try_acquire("carol", NOW, 1).is_ok(), "the first stranger");
    assert!(limiter.try_acquire("dave", NOW, 1).is_err());
    assert!((0..5).all(|_| limiter.try_acquire("alice", NOW, 1).is_ok()));
}

#[test]
fn all_claims_are_granted_or_none() {
    for algorithm in ALGORITHMS {
        let (all, each) = (with(algorithm, 3), with(algorithm, 2));
        let call = |user| {
            let claims = [each.claim(user), all.claim(())];
            RateLimiter::try_acquire_all(claims, NOW, 1).map(|quota| quota.remaining).ok()
        };
        assert_eq!(["alice", "alice", "alice"].map(call), [Some(1), Some(0), None], "{algorithm:?}");
        assert_eq!(["bob", "bob", "carol"].map(call), [Some(0), None, None], "{algorithm:?}");
        assert!(each.try_acquire("carol", NOW, 2).is_ok(), "{algorithm:?}: she lost nothing");
        assert_eq!((all.stats().admitted, each.stats().admitted), (3, 4), "{algorithm:?}");
        assert_eq!((all.stats().rejected, each.stats().rejected), (2, 1), "{algorithm:?}");
    }
}

#[test]
fn claims_of_strangers_return_to_the_quota_of_strangers() {
    let keys_max = NonZeroU32::MIN;
    let each = limiter(RateLimiterConfig { keys_max, ..RateLimiterConfig::new(rate("1/s")) });
    let all = limiter(RateLimiterConfig::new(rate("1/s")));
    assert!(each.try_acquire("known", NOW, 1).is_ok() && all.try_acquire((), NOW, 1).is_ok());
    let both = [each.claim("stranger"), all.claim(())];
    assert!(RateLimiter::try_acquire_all(both, NOW, 1).is_err(), "the second refuses");
    assert!(each.try_acquire("another", NOW, 1).is_ok(), "the strangers lost nothing");
}

#[test]
fn each_claim_is_told_what_it_leaves_up_to_the_one_that_refuses() {
    let each = limiter(RateLimiterConfig::new(rate("2/s")));
    let all = limiter(RateLimiterConfig::new(rate("3/s")));
    let call = |user| {
        let mut told = Vec::new();
        let claims = [each.claim(user), all.claim(())];
        let _ = RateLimiter::try_acquire_all_telling(claims, NOW, 1, |quota| {
            told.push((quota.remaining, quota.reset.as_millis()));
        });
        told
    };
    assert_eq!(call("alice"), [(1, 500), (2, 333)]);
    assert_eq!(call("alice"), [(0, 1_000), (1, 666)]);
    assert_eq!(call("alice"), [(0, 500)], "the wait, and the next is not asked");
    assert_eq!(call("bob"), [(1, 500), (0, 1_000)]);
    assert_eq!(call("bob"), [(0, 1_000), (0, 333)]);
    assert!(each.try_acquire("bob", NOW, 1).is_ok(), "what was told was not taken");
}

#[test]
fn subscribers_are_told_of_edges_only() {
    let limiter = limiter(RateLimiterConfig::new(rate("1/s")));
    assert!(limiter.try_acquire("a", NOW, 1).is_ok() && limiter.try_acquire("a", NOW, 1).is_err());
    let mut status = limiter.subscribe();
    assert_eq!(*status.borrow(), Status::Admitting, "nobody listened");

    assert!(limiter.try_acquire("a", NOW + ms(200), 1).is_err());
    assert!(status.has_changed().expect("alive"));
    assert_eq!(*status.borrow_and_update(), Status::Rejecting { until: NOW + ms(1_000) });
    assert!(limiter.try_acquire("b", NOW + ms(500), 1).is_ok(), "another caller is no edge");
    assert!(limiter.try_acquire("b", NOW + ms(600), 1).is_err(), "and extends the time");
    assert!(limiter.try_acquire("a", NOW + ms(1_400), 1).is_ok(), "b could not have come back yet");
    assert!(!status.has_changed().expect("alive"));

    assert!(limiter.try_acquire("b", NOW + ms(1_500), 1).is_ok());
    assert!(status.has_changed().expect("alive"));
    assert_eq!(*status.borrow_and_update(), Status::Admitting);
    assert!(limiter.try_acquire("b", NOW + ms(1_500), 2).is_err(), "can never fit");
    assert!(!status.has_changed().expect("alive"));
}

#[test]
fn who_subscribes_alone_sees_nothing_of_what_others_were_told() {
    let limiter = limiter(RateLimiterConfig::new(rate("1/s")));
    let first = limiter.subscribe();
    assert!(limiter.try_acquire("a", NOW, 1).is_ok() && limiter.try_acquire("a", NOW, 1).is_err());
    let second = limiter.subscribe();
    assert_eq!(*second.borrow(), Status::Rejecting { until: NOW + ms(1_000) }, "as the first sees it");
    drop((first, second));

    let hour_later = NOW + ms(3_600_000);
    assert!(limiter.try_acquire("a", hour_later, 1).is_ok());
    let mut status = limiter.subscribe();
    assert_eq!(*status.borrow(), Status::Admitting);
    assert!(!status.has_changed().expect("alive"));
    assert!(limiter.try_acquire("a", hour_later, 1).is_err());
    assert!(status.has_changed().expect("alive"), "the next rejection is an edge");
    assert_eq!(*status.borrow_and_update(), Status::Rejecting { until: hour_later + ms(1_000) });
}

#[test]
fn quotas_by_themselves_decide_as_a_limiter_and_leave_the_counting_to_it() {
    for algorithm in ALGORITHMS {
        let limiter = with(algorithm, 3);
        let config = RateLimiterConfig { algorithm, ..RateLimiterConfig::new(per_second(2)) };
        let quotas = Quotas::new(config).expect("good settings");
        let call = |key| RateLimiter::try_acquire_all([quotas.claim(key), limiter.claim(())], NOW, 1);
        assert_eq!(call("a").expect("the first").remaining, 1, "{algorithm:?}");
        assert_eq!(call("a").expect("the second").remaining, 0, "{algorithm:?}");
        assert_eq!(call("a").expect_err("two per second").bound, "limit", "{algorithm:?}");
        assert!(call("b").is_ok(), "another key, another quota");
        assert!(call("b").is_err(), "the limiter's three are taken");
        let alone = RateLimiter::try_acquire_all([quotas.claim("b")], NOW, 1);
        assert!(alone.is_ok(), "what the limiter refused returned to the quota");
        assert_eq!(quotas.keys(), 2, "{algorithm:?}");
        let stats = limiter.stats();
        assert_eq!((stats.admitted, stats.rejected), (3, 1), "{algorithm:?}");
    }
}
