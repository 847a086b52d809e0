use std::net::IpAddr;
use std::num::NonZeroU64;

use intertie_core::quantity::Rate;
use intertie_resilience::rate_limiter::lease::{Coordinator, LeaseConfig, Node, Verdict};
use intertie_resilience::rate_limiter::{LimitBy, QuotaOverride};
use intertie_resilience::{RateLimiter, RateLimiterConfig};

use super::{SECOND, at, number};

fn rate(text: &str) -> Rate {
    text.parse().expect("a rate")
}

/// Defect 9: limiters of several nodes admit without a bound, since their clocks share no epoch (governor #252,
/// resilience4j #350, benwis/tower-governor #37).
#[test]
fn nodes_whose_clocks_differ_by_days_keep_one_limit() {
    let config = LeaseConfig::new(rate("100/s"), NonZeroU64::new(10).expect("not zero"), number(5));
    let mut coordinator = Coordinator::first(config, at(0)).expect("valid");
    let mut nodes: Vec<_> = (0..5).map(|identity| Node::new(config, identity).expect("valid")).collect();
    let mut admitted = 0;
    for _ in 0..1_000 {
        for (days, node) in (0..).zip(&mut nodes) {
            let here = at(days * 86_400);
            admitted += u32::from(node.decide(here, 1) == Verdict::Admitted);
            let answer = node.question(here).and_then(|question| coordinator.answer(question, at(0)).ok());
            if let Some(grant) = answer {
                node.receive(grant, here);
            }
        }
    }
    assert_eq!(admitted, 100, "all that the window holds, by five nodes that ask as often as they like");
}

/// Defect 12: a limiter that is not `Clone` is built once for each connection, and 1,500 of 1,500 calls pass a
/// cap of 5/s (tokio-rs/axum #278, #876 and #2634, tower #794).
#[test]
fn clones_of_a_limiter_share_one_quota() {
    let limiter = RateLimiter::new(RateLimiterConfig::new(rate("5/s"))).expect("valid");
    let admitted = (0..1_500).filter(|_| limiter.clone().try_acquire((), at(0), 1).is_ok()).count();
    assert_eq!(admitted, 5);
}

/// Defect 15: each key that ever came is remembered, so that made-up keys fill the memory (governor #171,
/// pubky/pubky-homeserver #127, bigduu/Bamboo-agent #830).
#[test]
fn made_up_keys_fill_no_memory_and_gain_no_quota() {
    let config = RateLimiterConfig { keys_max: number(1_000), ..RateLimiterConfig::new(rate("1/h")) };
    let limiter = RateLimiter::new(config).expect("valid");
    let admitted = (0..100_000_u32).filter(|key| limiter.try_acquire(key, at(0), 1).is_ok()).count();
    assert!(limiter.stats().keys <= 1_000, "{:?}", limiter.stats());
    assert!(admitted <= 1_001, "{admitted} permits: one for each key that is remembered, one for the others");
    limiter.try_acquire(0_u32, at(0), 1).expect_err("who came first is not forgotten for those");
}

/// Defect 15, second half: all keys have the same quota (governor #193).
#[test]
fn a_key_may_have_its_own_quota() {
    let caller: IpAddr = "10.0.0.1".parse().expect("an address");
    let quota = QuotaOverride { limit: rate("3/s"), burst: None };
    let config = RateLimiterConfig {
        by: LimitBy::ClientAddress,
        overrides: [(caller.to_string(), quota)].into(),
        ..RateLimiterConfig::new(rate("1/s"))
    };
    let limiter = RateLimiter::new(config).expect("valid");
    let other: IpAddr = "10.0.0.2".parse().expect("an address");
    let admitted = |caller: IpAddr| (0..5).filter(|_| limiter.try_acquire(caller, at(0), 1).is_ok()).count();
    assert_eq!((admitted(caller), admitted(other)), (3, 1));
}

/// Seed trap (c) of the same list: a caller that waited for permits asks again and finds them taken, so that its
/// wait has no bound. Here they are reserved.
#[tokio::test(start_paused = true)]
async fn a_wait_for_permits_is_bounded_and_fair() {
    let config = RateLimiterConfig { queue: 1, ..RateLimiterConfig::new(rate("1/s")) };
    let limiter = RateLimiter::new(config).expect("valid");
    limiter.acquire((), 1, SECOND).await.expect("the first");
    let waits = limiter.acquire((), 1, SECOND);
    let others = async {
        for _ in 0..100 {
            limiter.acquire((), 1, 10 * SECOND).await.expect_err("one waits, and the queue is 1");
        }
    };
    let began = tokio::time::Instant::now();
    let (waited, ()) = tokio::join!(waits, others);
    waited.expect("its turn");
    assert_eq!(began.elapsed(), SECOND);
}
