//! A call that is dropped, after any number of polls, holds nothing and is counted once.

use std::future::poll_fn;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use intertie_core::failure::Evidence;
use intertie_resilience::pipeline::Stats;
use intertie_resilience::timeout::{DetachingTimeout, Late, Timeout};
use intertie_resilience::{
    Bulkhead, BulkheadConfig, CallError, Chaos, ChaosConfig, CircuitBreakerConfig, Hedge, HedgeConfig,
    MonotonicClock, Pipeline, RateLimiter, RateLimiterConfig, RetryConfig, TimeoutConfig,
};

const SECOND: Duration = Duration::from_secs(1);
/// No timer of these tests is shorter, so that a call is seen in each of its states.
const STEP: Duration = Duration::from_millis(100);
/// More polls than any call of these tests needs.
const POLLS_MAX: usize = 200;

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

/// Polls `call` so many times, with [`STEP`] and `between` after each, and drops it. Whether it had ended.
async fn polled<T>(polls: usize, call: impl Future<Output = T>, mut between: impl FnMut()) -> bool {
    let mut call = pin!(call);
    for _ in 0..polls {
        if poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_ready())).await {
            return true;
        }
        between();
        tokio::time::advance(STEP).await;
    }
    false
}

/// Runs `call_of` with a growing number of polls, until its call ends by itself, which takes more than
/// `polls_min` of them.
async fn drop_after_each_poll(polls_min: usize, call_of: impl AsyncFn(usize) -> bool) {
    for polls in 0..POLLS_MAX {
        if call_of(polls).await {
            assert!(polls > polls_min, "it ended after {polls} polls");
            return;
        }
    }
    panic!("it does not end");
}

/// Raised as long as somebody is inside.
struct Inside<'a>(&'a AtomicU32);

impl<'a> Inside<'a> {
    fn enter(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn everything() -> Pipeline {
    Pipeline::named("everything")
        .deadline(60 * SECOND)
        .rate_limiter(RateLimiterConfig::new("1000/s".parse().expect("a rate")))
        .bulkhead(BulkheadConfig { queue: 1, wait: 10 * SECOND, ..BulkheadConfig::new(number(1)) })
        .retry(RetryConfig { budget_minimum: 10_000, ..RetryConfig::quick() })
        .circuit_breaker(CircuitBreakerConfig {
            failures: NonZeroU32::new(30_000),
            ..CircuitBreakerConfig::sensitive()
        })
        .attempt_timeout(SECOND)
        .build()
        .expect("valid")
}

fn ended(stats: Stats) -> u64 {
    stats.succeeded + stats.failed + stats.rejected + stats.deadline_exceeded + stats.cancelled
}

/// Waits in the queue, fails, waits for the next attempt, hangs until its limit, waits again, fails, and then
/// its substitute takes a while.
#[tokio::test(start_paused = true)]
async fn a_pipeline_and_its_substitute() {
    let pipeline = everything();
    let bulkhead = pipeline.bulkhead().expect("it has one");
    let (inside, began) = (AtomicU32::new(0), AtomicU32::new(0));
    drop_after_each_poll(20, async |polls| {
        let mut place = Some(bulkhead.try_acquire().expect("every place came back"));
        let call = pipeline.call(async |attempt| {
            let _inside = Inside::enter(&inside);
            tokio::time::sleep(2 * STEP).await;
            if attempt.attempt() == 2 {
                tokio::time::sleep(60 * SECOND).await;
            }
            Err::<(), _>("down")
        });
        let backup = async |_: CallError<&str>| {
            let _inside = Inside::enter(&inside);
            tokio::time::sleep(3 * STEP).await;
            Ok(())
        };
        let has_ended =
            polled(polls, async { call.idempotent().or_else(backup).await }, || drop(place.take())).await;
        began.fetch_add(u32::from(polls > 0), Ordering::Relaxed);
        let (stats, places) = (pipeline.stats(), bulkhead.stats());
        assert_eq!((places.running - u32::from(place.is_some()), places.waiting), (0, 0), "{polls} polls");
        assert_eq!(inside.load(Ordering::Relaxed), 0, "{polls} polls");
        assert_eq!(ended(stats), u64::from(began.load(Ordering::Relaxed)), "{polls} polls: {stats:?}");
        has_ended
    })
    .await;
    assert!(pipeline.stats().cancelled > 10 && pipeline.stats().attempt_timeouts > 0);
}

#[tokio::test(start_paused = true)]
async fn a_probe_of_a_half_open_breaker() {
    let pipeline = Pipeline::named("probed")
        .circuit_breaker(CircuitBreakerConfig::sensitive())
        .attempt_timeout(SECOND)
        .build()
        .expect("valid");
    let breaker = pipeline.circuit_breaker().expect("it has one");
    for _ in 0..5 {
        breaker
            .try_admit(MonotonicClock::now())
            .expect("closed")
            .record(MonotonicClock::now(), Evidence::Failure);
    }
    tokio::time::advance(30 * SECOND).await;
    drop_after_each_poll(5, async |polls| {
        let slow = async |_| {
            tokio::time::sleep(6 * STEP).await;
            Ok::<_, ()>(())
        };
        if polled(polls, async { pipeline.call(slow).await }, || ()).await {
            return true;
        }
        let places: Vec<_> = (0..4).map(|_| breaker.try_admit(MonotonicClock::now())).collect();
        assert_eq!(places.iter().filter(|place| place.is_ok()).count(), 3, "after {polls} polls");
        false
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_place() {
    let config = BulkheadConfig { queue: 5, wait: 10 * SECOND, ..BulkheadConfig::new(number(1)) };
    let bulkhead = Bulkhead::new(config).expect("valid");
    drop_after_each_poll(4, async |polls| {
        let mut held = Some(bulkhead.try_acquire().expect("every place came back"));
        let mut turns = 0;
        let release = || {
            turns += 1;
            if turns == 4 {
                held = None;
            }
        };
        let has_ended = polled(polls, bulkhead.acquire(None), release).await;
        drop(held);
        let stats = bulkhead.stats();
        assert_eq!((stats.running, stats.waiting), (0, 0), "after {polls} polls");
        has_ended
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_permits() {
    let limit = RateLimiterConfig { queue: 5, ..RateLimiterConfig::new("1/s".parse().expect("a rate")) };
    drop_after_each_poll(8, async |polls| {
        let limiter = RateLimiter::new(limit.clone()).expect("valid");
        let now = MonotonicClock::now();
        limiter.try_acquire((), now, 1).expect("the first");
        let has_ended = polled(polls, limiter.acquire((), 1, 10 * SECOND), || ()).await;
        assert_eq!(limiter.stats().waiting, 0, "after {polls} polls");
        let again = limiter.try_acquire((), now + SECOND, 1);
        assert_eq!(again.is_ok(), !has_ended, "after {polls} polls nothing is reserved");
        has_ended
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hedged_call() {
    let hedge = Hedge::new(HedgeConfig {
        attempts: number(3),
        budget_minimum: 1_000,
        ..HedgeConfig::after(2 * STEP)
    });
    let hedge = hedge.expect("valid");
    let inside = AtomicU32::new(0);
    drop_after_each_poll(8, async |polls| {
        let before = hedge.stats().calls;
        let operation = async |attempt| {
            let _inside = Inside::enter(&inside);
            tokio::time::sleep(5 * STEP).await;
            if attempt < 3 { Err("down") } else { Ok(()) }
        };
        let has_ended = polled(polls, hedge.run(operation), || ()).await;
        assert_eq!(inside.load(Ordering::Relaxed), 0, "after {polls} polls");
        assert_eq!(hedge.stats().calls - before, u64::from(polls > 0), "after {polls} polls");
        has_ended
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_with_a_timeout() {
    for (late, grace) in [(Late::Drop, Duration::ZERO), (Late::Cooperate, 4 * STEP)] {
        let config = TimeoutConfig { late, grace, ..TimeoutConfig::new(6 * STEP) };
        let timeout = Timeout::new(config).expect("valid");
        let (inside, began) = (AtomicU32::new(0), AtomicU32::new(0));
        drop_after_each_poll(5, async |polls| {
            let operation = async |_| {
                let _inside = Inside::enter(&inside);
                tokio::time::sleep(60 * SECOND).await;
                Ok::<_, ()>(())
            };
            let has_ended = polled(polls, timeout.run(operation), || ()).await;
            began.fetch_add(u32::from(polls > 0), Ordering::Relaxed);
            let stats = timeout.stats();
            assert_eq!(inside.load(Ordering::Relaxed), 0, "after {polls} polls");
            let ended = stats.finished + stats.finished_late + stats.timed_out + stats.cancelled;
            assert_eq!(ended, u64::from(began.load(Ordering::Relaxed)), "after {polls} polls: {stats:?}");
            has_ended
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_operation_may_be_detached() {
    let config = TimeoutConfig { late: Late::Detach, grace: 4 * STEP, ..TimeoutConfig::new(6 * STEP) };
    let timeout = DetachingTimeout::new(config, |operation| drop(tokio::spawn(operation))).expect("valid");
    static INSIDE: AtomicU32 = AtomicU32::new(0);
    drop_after_each_poll(5, async |polls| {
        let operation = |_| async {
            let _inside = Inside::enter(&INSIDE);
            tokio::time::sleep(60 * SECOND).await;
            Ok::<_, ()>(())
        };
        let has_ended = polled(polls, timeout.run(operation), || ()).await;
        let goes_on = u32::from(has_ended);
        assert_eq!(INSIDE.load(Ordering::Relaxed), goes_on, "only a late one goes on: {polls} polls");
        assert_eq!(timeout.detached_stats().running, goes_on);
        has_ended
    })
    .await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(
        (INSIDE.load(Ordering::Relaxed), timeout.detached_stats().running),
        (0, 0),
        "its grace is over"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_chaos_holds_up() {
    let rate = intertie_core::quantity::Ratio::ONE;
    let config =
        ChaosConfig { enabled: true, latency_rate: rate, latency: 3 * STEP, ..ChaosConfig::default() };
    let chaos = Chaos::new(config).expect("valid");
    let made = AtomicU32::new(0);
    drop_after_each_poll(3, async |polls| {
        let operation = async {
            made.fetch_add(1, Ordering::Relaxed);
        };
        let has_ended = polled(polls, chaos.run(operation, || ()), || ()).await;
        assert_eq!(made.load(Ordering::Relaxed), u32::from(has_ended), "after {polls} polls");
        has_ended
    })
    .await;
}
