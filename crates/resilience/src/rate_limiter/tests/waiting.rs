use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tokio::time::timeout;

use super::super::token_bucket::TokenBucket;
use super::*;
use crate::MonotonicClock;

fn queueing(limit: &str, queue: u32) -> RateLimiter {
    limiter(RateLimiterConfig { burst: NonZeroU64::new(1), queue, ..RateLimiterConfig::new(rate(limit)) })
}

/// Starts waiting at once and does not end.
macro_rules! begin {
    ($waiting:expr) => {
        assert!(timeout(Duration::ZERO, &mut $waiting).await.is_err(), "it waits")
    };
}

#[tokio::test(start_paused = true)]
async fn waiters_go_in_order_of_arrival_at_the_rate() {
    let limiter = queueing("10/s", 5);
    let start = MonotonicClock::now();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for number in 0..5 {
        let (limiter, order) = (limiter.clone(), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let quota = limiter.acquire((), 1, ms(400)).await.expect("soon enough");
            let waited = MonotonicClock::now().saturating_since(start).as_millis();
            order.lock().expect("no panic").push((number, waited, quota.remaining));
        }));
        tokio::task::yield_now().await;
    }
    assert_eq!(limiter.stats().waiting, 4);
    for task in tasks {
        task.await.expect("no panic");
    }
    let order = order.lock().expect("no panic");
    let numbers: Vec<u32> = order.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    for (number, waited, remaining) in order.iter() {
        let due = u128::from(*number) * 100;
        assert!((due..=due + 1).contains(waited), "number {number} after {waited} ms");
        assert_eq!(*remaining, 0);
    }
    let stats = limiter.stats();
    assert_eq!((stats.admitted, stats.rejected, stats.waiting), (5, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_too_long_is_refused_at_once() {
    let limiter = queueing("10/s", 9);
    let start = tokio::time::Instant::now();
    limiter.acquire((), 1, Duration::ZERO).await.expect("free");
    let rejection = limiter.acquire((), 1, ms(99)).await.expect_err("100 ms away");
    assert_eq!((rejection.bound, rejection.retry_after), ("limit", Some(ms(100))));
    let rejection = limiter.acquire((), 2, Duration::MAX).await.expect_err("above the burst");
    assert_eq!((rejection.bound, rejection.retry_after), ("limit", None));
    assert_eq!(start.elapsed(), Duration::ZERO);
    limiter.acquire((), 1, ms(100)).await.expect("the refused took nothing");
    let stats = limiter.stats();
    assert_eq!((stats.admitted, stats.rejected, stats.waiting), (2, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn the_number_of_waiters_is_bounded() {
    let limiter = queueing("10/s", 1);
    limiter.acquire("a", 1, Duration::ZERO).await.expect("free");
    let mut waiting = Box::pin(limiter.acquire("a", 1, ms(500)));
    begin!(waiting);
    limiter.acquire("b", 1, Duration::ZERO).await.expect("free");
    let rejection = limiter.acquire("b", 1, ms(500)).await.expect_err("one waits, whoever it is");
    assert_eq!((rejection.bound, rejection.retry_after), ("queue", Some(ms(100))));
    let rejection = limiter.acquire("b", 1, ms(50)).await.expect_err("it would not wait so long");
    assert_eq!((rejection.bound, rejection.retry_after), ("limit", Some(ms(100))));
    waiting.await.expect("its turn");
    limiter.acquire("b", 1, ms(500)).await.expect("the place is free again");
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_nobody_waits() {
    let limiter = queueing("10/s", 0);
    limiter.acquire((), 1, ms(500)).await.expect("free");
    assert_eq!(limiter.acquire((), 1, ms(500)).await.expect_err("taken").bound, "limit");
    let window = limiter_of_window();
    window.acquire((), 1, ms(5_000)).await.expect("free");
    assert_eq!(window.acquire((), 1, ms(5_000)).await.expect_err("full").bound, "limit");
}

fn limiter_of_window() -> RateLimiter {
    limiter(RateLimiterConfig { algorithm: Algorithm::FixedWindow, ..RateLimiterConfig::new(rate("1/h")) })
}

#[tokio::test(start_paused = true)]
async fn nobody_takes_the_permits_of_a_waiter() {
    let limiter = queueing("10/s", 1);
    limiter.acquire((), 1, Duration::ZERO).await.expect("free");
    let mut waiting = Box::pin(limiter.acquire((), 1, ms(500)));
    begin!(waiting);
    let due = MonotonicClock::now() + ms(100);
    let rejection = limiter.try_acquire((), due, 1).expect_err("the token of 100 ms is the waiter's");
    assert_eq!(rejection.retry_after, Some(ms(100)));
    waiting.await.expect("its turn");
    assert!(limiter.try_acquire((), due, 1).is_err(), "it used its permit");
}

#[tokio::test(start_paused = true)]
async fn the_last_to_wait_gives_its_permits_back_when_cancelled() {
    for key in [None, Some("a"), Some("named"), Some("stranger")] {
        let named = QuotaOverride { limit: rate("10/s"), burst: NonZeroU64::new(1) };
        let limiter = limiter(RateLimiterConfig {
            keys_max: NonZeroU32::MIN,
            overrides: [("named".to_owned(), named)].into(),
            ..queueing("10/s", 3).config().clone()
        });
        if key == Some("stranger") {
            limiter.try_acquire("known", MonotonicClock::now(), 1).expect("free");
            let later = MonotonicClock::now() + ms(50_000);
            limiter.try_acquire("known", later, 1).expect("free, and remembered for long");
        }
        let acquire = |wait_max| {
            let limiter = limiter.clone();
            async move {
                match key {
                    Some(key) => limiter.acquire(key, 1, wait_max).await,
                    None => limiter.acquire((), 1, wait_max).await,
                }
            }
        };
        acquire(Duration::ZERO).await.expect("free");
        let mut second = Box::pin(acquire(ms(500)));
        begin!(second);
        let mut third = Box::pin(acquire(ms(500)));
        begin!(third);
        assert_eq!(limiter.stats().waiting, 2);
        drop(third);
        drop(second);
        assert_eq!(limiter.stats().waiting, 0);
        let rejection = acquire(Duration::ZERO).await.expect_err("the first has the token still");
        assert!(rejection.retry_after <= Some(ms(100)), "{key:?}: {rejection:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_with_others_behind_it_loses_its_permits_when_cancelled() {
    let limiter = queueing("10/s", 3);
    let start = MonotonicClock::now();
    limiter.acquire((), 1, Duration::ZERO).await.expect("free");
    let mut second = Box::pin(limiter.acquire((), 1, ms(500)));
    begin!(second);
    let mut third = Box::pin(limiter.acquire((), 1, ms(500)));
    begin!(third);
    drop(second);
    let newcomer = limiter.try_acquire((), start, 1).expect_err("behind the third");
    assert_eq!(newcomer.retry_after, Some(ms(300)), "two at 200 ms would be above the burst");
    third.await.expect("its turn");
    let waited = MonotonicClock::now().saturating_since(start);
    assert!((ms(200)..=ms(201)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_future_that_was_never_polled_took_nothing() {
    let limiter = queueing("1/h", 1);
    drop(limiter.acquire((), 1, ms(500)));
    limiter.try_acquire((), MonotonicClock::now(), 1).expect("free");
}

proptest! {
    /// Waiters against a list of times: whoever is admitted or waits, the permits used never exceed the
    /// bucket, order is kept, and a cancelled waiter frees its place only when it was the last.
    #[test]
    fn reservations_fit_the_bucket(
        burst in 1_u64..5,
        steps in prop::collection::vec((0_u64..200, 1_u64..4, 0_u64..600, 0_u8..4, any::<prop::sample::Index>()), 1..120),
    ) {
        let bucket = TokenBucket::new(rate("10/s"), burst);
        let mut full_at = Instant::default();
        let mut now = NOW;
        // Reservations that are not cancelled: due time, cost.
        let mut due = Vec::new();
        let mut cancellable = Vec::new();
        for (step, cost, wait_max, what, index) in steps {
            now = now + ms(step);
            cancellable.retain(|(at, _, _): &(Instant, u64, _)| *at > now);
            if what == 0 && !cancellable.is_empty() {
                let (at, cost, reservation) = cancellable.remove(index.index(cancellable.len()));
                let is_last = due.iter().all(|(other, _): &(Instant, u64)| *other <= at)
                    && due.last() == Some(&(at, cost));
                let before = full_at;
                prop_assert_eq!(bucket.give_back(&mut full_at, &reservation), full_at != before);
                if is_last {
                    prop_assert!(full_at < before);
                }
                due.retain(|used| *used != (at, cost));
            } else {
                match bucket.reserve(&mut full_at, now, cost, ms(wait_max)) {
                    Ok(reservation) => {
                        prop_assert!(reservation.wait <= ms(wait_max));
                        let at = now + reservation.wait;
                        due.push((at, cost));
                        if !reservation.wait.is_zero() {
                            cancellable.push((at, cost, reservation));
                        }
                    }
                    Err(None) => prop_assert!(cost > burst),
                    Err(Some(wait)) => prop_assert!(wait > ms(wait_max)),
                }
            }
        }
        prop_assert!(due.is_sorted_by_key(|(at, _)| *at), "in order of arrival");
        // A naive bucket that sees only the calls that were made.
        let mut tokens = burst * 100;
        let mut last = NOW;
        for (at, cost) in due {
            tokens = (tokens + at.saturating_since(last).as_millis() as u64).min(burst * 100);
            last = at;
            prop_assert!(tokens >= cost * 100, "above the bucket");
            tokens -= cost * 100;
        }
    }
}
