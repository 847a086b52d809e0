mod attempts;
mod chaos;
mod config;
mod hedging;
mod leaving;

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use intertie_core::failure::Class;
use intertie_core::quantity::Ratio;
use intertie_core::rejection::Policy;

use super::*;
use crate::circuit_breaker::Phase;
use crate::rate_limiter::Count;
use crate::{CircuitBreakerConfig, MonotonicClock};

const SECOND: Duration = Duration::from_secs(1);

fn retry() -> RetryConfig {
    RetryConfig { jitter: Ratio::ZERO, ..RetryConfig::standard() }
}

/// Opens at the first failure.
fn touchy() -> CircuitBreakerConfig {
    CircuitBreakerConfig {
        consecutive_failures: Some(NonZeroU32::MIN),
        failures: None,
        ..CircuitBreakerConfig::standard()
    }
}

fn one_at_a_time() -> BulkheadConfig {
    BulkheadConfig::new(NonZeroU32::MIN)
}

fn per_minute(limit: &str, count: Count) -> RateLimiterConfig {
    RateLimiterConfig { count, ..RateLimiterConfig::new(limit.parse().expect("a rate")) }
}

fn everything() -> Pipeline {
    Pipeline::named("everything")
        .deadline(60 * SECOND)
        .rate_limiter(per_minute("1000/s", Count::Calls))
        .bulkhead(BulkheadConfig { queue: 1, wait: 10 * SECOND, ..one_at_a_time() })
        .retry(retry())
        .circuit_breaker(CircuitBreakerConfig::sensitive())
        .attempt_timeout(5 * SECOND)
        .build()
        .expect("valid")
}

/// What an operation does each time it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Succeed,
    Fail,
    Hang,
}

impl Does {
    async fn it(self) -> Result<&'static str, &'static str> {
        match self {
            Self::Succeed => Ok("done"),
            Self::Fail => Err("failed"),
            Self::Hang => pending().await,
        }
    }
}

/// An operation that counts its attempts and notes when they begin.
#[derive(Default)]
struct Operation {
    began: Mutex<Vec<tokio::time::Instant>>,
}

impl Operation {
    fn attempt(&self, does: Does) -> impl Future<Output = Result<&'static str, &'static str>> + use<> {
        self.began.lock().expect("unpoisoned").push(tokio::time::Instant::now());
        does.it()
    }

    fn attempts(&self) -> usize {
        self.began.lock().expect("unpoisoned").len()
    }

    fn waits(&self) -> Vec<Duration> {
        self.began.lock().expect("unpoisoned").windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn without_policies_it_is_the_operation() {
    let pipeline = Pipeline::named("bare").build().expect("valid");
    assert_eq!(pipeline.call(|_| Does::Succeed.it()).await.expect("succeeds"), "done");
    let error = pipeline.call(|_| Does::Fail.it()).await.expect_err("fails");
    assert!(matches!(error, CallError::Operation("failed")), "{error:?}");
    assert_eq!(pipeline.stats(), Stats { succeeded: 1, failed: 1, ..Stats::default() });
}

#[tokio::test(start_paused = true)]
async fn the_callers_own_deadline_shortens_the_pipelines_and_never_lengthens_it() {
    let pipeline = Pipeline::named("short").deadline(4 * SECOND).build().expect("valid");
    for (remaining, expected) in
        [(SECOND, SECOND), (9 * SECOND, 4 * SECOND), (Duration::ZERO, Duration::ZERO)]
    {
        let started = tokio::time::Instant::now();
        let error = pipeline.call(|_| Does::Hang.it()).remaining(remaining).await.expect_err("hangs");
        assert!(matches!(error, CallError::DeadlineExceeded), "{error:?}");
        assert_eq!(started.elapsed(), expected);
    }
    assert_eq!(pipeline.stats().deadline_exceeded, 3);
}

#[tokio::test(start_paused = true)]
async fn a_hurried_callers_timeout_says_nothing_about_the_dependency() {
    let pipeline =
        Pipeline::named("judge").deadline(4 * SECOND).circuit_breaker(touchy()).build().expect("valid");
    let phase = || pipeline.circuit_breaker().expect("in force").stats(MonotonicClock::now()).phase;
    let _ = pipeline.call(|_| Does::Hang.it()).remaining(SECOND).await;
    assert_eq!(phase(), Phase::Closed);
    let _ = pipeline.call(|_| Does::Hang.it()).await;
    assert_eq!(phase(), Phase::Open, "it had all the time that we allow");
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_rejects_and_stops_retries() {
    let pipeline = Pipeline::named("broken").retry(retry()).circuit_breaker(touchy()).build().expect("valid");
    let operation = Operation::default();
    let error = pipeline.call(|_| operation.attempt(Does::Fail)).idempotent().await.expect_err("fails");
    assert!(matches!(error, CallError::Operation("failed")), "the breaker opened: {error:?}");
    let error = pipeline.call(|_| operation.attempt(Does::Fail)).idempotent().await.expect_err("open");
    let CallError::Rejected(rejection) = error else { panic!("{error:?}") };
    assert_eq!((rejection.by, rejection.bound), (Policy::CircuitBreaker, "open"));
    assert_eq!(rejection.retry_after, Some(30 * SECOND));
    assert_eq!(operation.attempts(), 1);
    assert_eq!(pipeline.stats(), Stats { failed: 1, rejected: 1, ..Stats::default() });
}

#[tokio::test(start_paused = true)]
async fn a_place_is_held_while_a_call_waits_for_its_next_attempt() {
    let pipeline = Pipeline::named("narrow").bulkhead(one_at_a_time()).retry(retry()).build().expect("valid");
    let first = pipeline.call(|_| Does::Fail.it()).idempotent();
    let second = async {
        tokio::time::sleep(SECOND / 2).await;
        pipeline.call(|_| Does::Succeed.it()).await
    };
    let (_, second) = tokio::join!(first, second);
    let error = second.expect_err("the only place is taken");
    assert!(
        matches!(&error, CallError::Rejected(rejection) if rejection.by == Policy::Bulkhead),
        "{error:?}"
    );
    assert!(pipeline.call(|_| Does::Succeed.it()).await.is_ok(), "free again");
}

#[tokio::test(start_paused = true)]
async fn the_limiter_counts_calls_or_attempts_as_it_is_told() {
    for (count, attempts) in [(Count::Calls, 3), (Count::Attempts, 2)] {
        let limiter = per_minute("2/min", count);
        let pipeline = Pipeline::named("billed").rate_limiter(limiter).retry(retry()).build().expect("valid");
        let operation = Operation::default();
        let error = pipeline.call(|_| operation.attempt(Does::Fail)).idempotent().await.expect_err("fails");
        assert!(
            matches!(&error, CallError::Exhausted(all) if all.attempts == attempts),
            "{count:?}: {error:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn keys_have_quotas_of_their_own_and_costs_are_taken_together() {
    let limiter = per_minute("3/min", Count::Calls);
    let pipeline = Pipeline::named("keyed").rate_limiter(limiter).build().expect("valid");
    assert!(pipeline.call(|_| Does::Succeed.it()).key("alice").cost(3).await.is_ok());
    assert!(pipeline.call(|_| Does::Succeed.it()).key("alice").await.is_err());
    assert!(pipeline.call(|_| Does::Succeed.it()).key("bob").await.is_ok());
    let error = pipeline.call(|_| Does::Succeed.it()).key("bob").cost(9).await.expect_err("never fits");
    assert_eq!(error.retry_after(), None);
}

/// All ordered pairs of policies, against everything that an operation can do.
#[tokio::test(start_paused = true)]
async fn every_pair_of_policies_does_what_its_order_says() {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum P {
        Deadline,
        Limiter,
        AttemptLimiter,
        Bulkhead,
        Retry,
        Breaker,
        Timeout,
    }
    let all = [P::Deadline, P::Limiter, P::AttemptLimiter, P::Bulkhead, P::Retry, P::Breaker, P::Timeout];
    let add = |builder: PipelineBuilder, policy| match policy {
        P::Deadline => builder.deadline(60 * SECOND),
        P::Limiter => builder.rate_limiter(per_minute("1/h", Count::Calls)),
        P::AttemptLimiter => builder.rate_limiter(per_minute("1/h", Count::Attempts)),
        P::Bulkhead => builder.bulkhead(one_at_a_time()),
        P::Retry => builder.retry(retry()),
        P::Breaker => builder.circuit_breaker(touchy()),
        P::Timeout => builder.attempt_timeout(SECOND),
    };
    for outer in all {
        for inner in all {
            let limiters = [P::Limiter, P::AttemptLimiter];
            if outer == inner || (limiters.contains(&outer) && limiters.contains(&inner)) {
                continue;
            }
            for does in [Does::Succeed, Does::Fail, Does::Hang] {
                let has = |policy| outer == policy || inner == policy;
                if does == Does::Hang && !has(P::Timeout) && !has(P::Deadline) {
                    continue;
                }
                let pipeline = add(add(Pipeline::named("pair"), outer), inner).build().expect("valid");
                let turned = add(add(Pipeline::named("pair"), inner), outer).build().expect("valid");
                assert_eq!(pipeline.explain(), turned.explain(), "the order of the calls is no matter");
                let operation = Operation::default();
                let result = pipeline.call(|_| operation.attempt(does)).idempotent().await;
                let case = format!("{outer:?}, {inner:?}, {does:?}: {result:?}");
                // A deadline that ends an attempt leaves no time for another; the breaker opens at the
                // first failure; the attempt limiter has one permit.
                let ended_by_deadline = does == Does::Hang && !has(P::Timeout);
                let may_repeat = does != Does::Succeed && !ended_by_deadline;
                let repeats = may_repeat && has(P::Retry) && !has(P::Breaker) && !has(P::AttemptLimiter);
                assert_eq!(operation.attempts(), if repeats { 3 } else { 1 }, "{case}");
                let expected = match (result, does) {
                    (Ok("done"), Does::Succeed) => true,
                    (Err(CallError::DeadlineExceeded), Does::Hang) => ended_by_deadline,
                    (Err(CallError::Operation("failed")), Does::Fail) => !repeats,
                    (Err(CallError::AttemptTimeout), Does::Hang) => !repeats,
                    (Err(CallError::Exhausted(all)), does) => {
                        repeats && matches!(all.last, AttemptError::Timeout) == (does == Does::Hang)
                    }
                    _ => false,
                };
                assert!(expected, "{case}");
                if let Some(breaker) = pipeline.circuit_breaker() {
                    let open = breaker.stats(MonotonicClock::now()).phase == Phase::Open;
                    // Without an attempt timeout the deadline is the attempt's own time.
                    assert_eq!(open, does != Does::Succeed, "{case}");
                }
                let again = pipeline.call(|_| Does::Succeed.it()).await;
                let refused =
                    has(P::Limiter) || has(P::AttemptLimiter) || (has(P::Breaker) && does != Does::Succeed);
                assert_eq!(again.is_err(), refused, "{case}, then {again:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_can_be_spawned_and_can_borrow_and_need_not_be_send() {
    let pipeline = everything();
    let order = String::from("order-7");
    let spawned = tokio::spawn({
        let pipeline = pipeline.clone();
        let order = order.clone();
        async move { pipeline.call(async |_| Ok::<_, ()>(order.len())).await.map_err(drop) }
    });
    assert_eq!(spawned.await.expect("no panic"), Ok(7));
    let counted = Rc::new(Cell::new(0));
    let local = pipeline.call(async |_| {
        counted.set(counted.get() + order.len());
        tokio::task::yield_now().await;
        Ok::<_, ()>(())
    });
    local.await.expect("succeeds");
    assert_eq!(counted.get(), 7);
}
