use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::super::leased::Leased;
use super::super::token_bucket::TokenBucket;
use super::*;
use crate::striped::STRIPES;

fn is_admitted(leased: &Leased, now: Instant, cost: u64) -> bool {
    matches!(leased.decide(now, cost), Decision::Admitted { .. })
}

#[test]
fn one_thread_gets_its_burst_then_the_rate() {
    let leased = Leased::new(TokenBucket::new(rate("10/s"), 20), 16);
    assert_eq!((0..100).filter(|_| is_admitted(&leased, NOW, 1)).count(), 20);
    assert_eq!(leased.decide(NOW, 1), Decision::Rejected { retry_after: Some(ms(100)) });
    assert_eq!(leased.decide(NOW, 21), Decision::Rejected { retry_after: None });
    assert!(is_admitted(&leased, NOW + ms(100), 1));
}

#[test]
fn what_remains_counts_the_stripe() {
    let leased = Leased::new(TokenBucket::new(rate("10/s"), 20), 16);
    for left in (0..20).rev() {
        let decision = leased.decide(NOW, 1);
        assert!(
            matches!(decision, Decision::Admitted { remaining, .. } if remaining == left),
            "{decision:?}"
        );
    }
}

#[test]
fn a_call_is_rejected_only_when_no_stripe_can_pay() {
    let leased = Leased::new(TokenBucket::new(rate("1/h"), 16), 16);
    let admits = |stripe| matches!(leased.decide_in(stripe, NOW, 1), Decision::Admitted { .. });
    assert!(admits(0));
    assert_eq!(leased.in_stripes()[0], 15);
    assert_eq!((0..100).filter(|_| admits(1)).count(), 15);
}

#[test]
fn threads_admit_no_more_than_the_bucket_and_the_leases_and_lose_nothing() {
    const LEASE: u64 = 4;
    const WINDOW: u64 = 100;
    const THREADS: usize = 4;
    let bucket = TokenBucket::new(per_second(WINDOW), WINDOW);
    let leased = Leased::new(bucket, LEASE);
    let mut total = 0;
    for second in 0..500_u64 {
        let now = NOW + ms(second * 1_000);
        let admitted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (leased, admitted) = (&leased, &admitted);
                scope.spawn(move || {
                    for call in 0..100_u64 {
                        let cost = 1 + (call + thread as u64) % 5;
                        if matches!(leased.decide_in(thread, now, cost), Decision::Admitted { .. }) {
                            admitted.fetch_add(cost, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let admitted = admitted.into_inner();
        total += admitted;
        let in_stripes = leased.in_stripes();
        assert!(in_stripes.iter().all(|permits| *permits <= LEASE));
        assert!(admitted <= WINDOW + STRIPES as u64 * LEASE, "{admitted} at once");
        // In the bucket, in a stripe or admitted: every permit is somewhere, once.
        let in_stripes = in_stripes.iter().sum::<u64>();
        assert_eq!(total + in_stripes + leased.in_bucket(now), WINDOW * (second + 1));
    }
}

proptest! {
    /// In every window: at most what the bucket admits in it, and the leases.
    #[test]
    fn a_window_admits_the_bucket_and_the_leases(
        amount in 1_u64..200,
        burst in 16_u64..60,
        lease in 1_u64..16,
        steps in prop::collection::vec((0_u64..50_000_000, 1_u64..20, 0_usize..STRIPES), 1..200),
    ) {
        let bucket = TokenBucket::new(per_second(amount), burst);
        let leased = Leased::new(bucket, lease);
        let mut calls: Vec<(u64, u64)> = Vec::new();
        let mut now = 0;
        for (step, cost, stripe) in steps {
            now += step;
            let at = NOW + Duration::from_nanos(now);
            let before = leased.in_stripes();
            if let Decision::Admitted { remaining, .. } = leased.decide_in(stripe, at, cost) {
                prop_assert!(remaining <= burst + lease);
                calls.push((now, cost));
            } else {
                prop_assert!(leased.in_stripes() == before, "a rejected call takes nothing");
            }
        }
        let interval = 1_000_000_000_u64.div_ceil(amount);
        for (index, (start, _)) in calls.iter().enumerate() {
            let mut admitted = 0;
            for (end, cost) in &calls[index..] {
                admitted += cost;
                let refilled = (end - start) / interval;
                prop_assert!(admitted <= burst + refilled + STRIPES as u64 * lease);
            }
        }
    }
}
