//! A call that passes, or is rejected, allocates nothing, whatever policies are in force.
//!
//! A binary of its own, since it brings its own allocator.

use std::future::ready;
use std::num::NonZeroU32;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use intertie_core::failure::{Class, Evidence};
use intertie_core::quantity::{Rate, Ratio};
use intertie_resilience::circuit_breaker::{Mode, Window};
use intertie_resilience::deadline::Deadline;
use intertie_resilience::fallback::LastGood;
use intertie_resilience::hedge::Quantile;
use intertie_resilience::rate_limiter::Algorithm;
use intertie_resilience::retry::Retry;
use intertie_resilience::timeout::{Timeout, TimeoutConfig};
use intertie_resilience::{
    Bulkhead, BulkheadConfig, Chaos, ChaosConfig, CircuitBreaker, CircuitBreakerConfig, Hedge, HedgeConfig,
    MonotonicClock, Pipeline, RateLimiter, RateLimiterConfig, RetryBudget, RetryConfig,
};

const SECOND: Duration = Duration::from_secs(1);
const CALLS: usize = 100;

/// Checks that `call` allocates nothing once it was made a few times.
#[track_caller]
fn check<T>(what: &str, mut call: impl FnMut() -> T) {
    let mut calls = || (0..CALLS).for_each(|_| drop(call()));
    calls();
    let counted = allocation_counter::measure(calls);
    let (count, bytes) = (counted.count_total, counted.bytes_total);
    assert_eq!(count, 0, "{what}: {count} allocations of {bytes} bytes in {CALLS} calls");
}

/// The output of a future that does not have to wait.
fn now<T>(future: impl IntoFuture<Output = T>) -> T {
    let Poll::Ready(output) = pin!(future.into_future()).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it waits");
    };
    output
}

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

fn rate(text: &str) -> Rate {
    text.parse().expect("a rate")
}

#[test]
fn a_counted_allocation_is_seen() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(counted.count_total, 1);
}

#[test]
fn a_circuit_breaker_allocates_nothing_in_any_phase() {
    let windows = [Window::Time(60 * SECOND), Window::Calls(number(100))];
    for window in windows {
        let config = CircuitBreakerConfig {
            window,
            failure_rate: Some(Ratio::from_percent(50)),
            slow_call_duration: Some(SECOND),
            slow_call_rate: Some(Ratio::from_percent(50)),
            consecutive_failures: Some(number(50)),
            failures: None,
            ..CircuitBreakerConfig::standard()
        };
        let breaker = CircuitBreaker::new(config).expect("valid");
        let mut calls = 0;
        check("closed, one in ten failing", || {
            calls += 1;
            let evidence = if calls % 10 == 0 { Evidence::Failure } else { Evidence::Success };
            let at = MonotonicClock::now();
            breaker.try_admit(at).expect("closed").record(at, evidence);
        });
    }
    let forced = CircuitBreakerConfig { mode: Mode::ForcedOpen, ..CircuitBreakerConfig::standard() };
    let forced = CircuitBreaker::new(forced).expect("valid");
    check("open", || forced.try_admit(MonotonicClock::now()).expect_err("open"));
    let turning = CircuitBreakerConfig { open: Duration::from_nanos(1), ..CircuitBreakerConfig::sensitive() };
    let turning = CircuitBreaker::new(turning).expect("valid");
    check("opening and closing", || {
        for evidence in [[Evidence::Failure; 5], [Evidence::Success; 5]].as_flattened() {
            let at = MonotonicClock::now();
            if let Ok(permit) = turning.try_admit(at) {
                permit.record(at, *evidence);
            }
        }
    });
}

#[test]
fn a_rate_limiter_allocates_nothing_for_callers_that_it_knows() {
    for algorithm in [Algorithm::TokenBucket, Algorithm::SlidingWindow, Algorithm::FixedWindow] {
        let config = RateLimiterConfig { algorithm, ..RateLimiterConfig::new(rate("150/h")) };
        let limiter = RateLimiter::new(config).expect("valid");
        check("all callers, of which the last ones are rejected", || {
            limiter.try_acquire((), MonotonicClock::now(), 1).ok();
        });
        check("one of a hundred callers", || {
            (0..100).filter(|key| limiter.try_acquire(key, MonotonicClock::now(), 1).is_ok()).count()
        });
    }
    let leased = RateLimiterConfig { lease: Some(number(10)), ..RateLimiterConfig::new(rate("150/h")) };
    let leased = RateLimiter::new(leased).expect("valid");
    check("leased", || leased.try_acquire((), MonotonicClock::now(), 1));
    check("waiting for nothing", || now(leased.acquire((), 0, SECOND)));
}

#[test]
fn a_bulkhead_with_free_places_allocates_nothing() {
    let bulkhead = Bulkhead::new(BulkheadConfig::new(number(2))).expect("valid");
    check("asked", || bulkhead.try_acquire().expect("free"));
    check("awaited", || now(bulkhead.acquire(Some(SECOND))).expect("free"));
    let _both = [bulkhead.try_acquire(), bulkhead.try_acquire()];
    check("full", || bulkhead.try_acquire().expect_err("full"));
}

#[test]
fn a_call_that_a_full_bulkhead_turns_away_allocates_nothing() {
    let pipeline = Pipeline::named("full").bulkhead(BulkheadConfig::new(number(1))).build().expect("valid");
    let _held = pipeline.bulkhead().expect("in force").try_acquire();
    check("a pipeline", || now(pipeline.call(async |_| Ok::<_, ()>(()))).expect_err("full"));
}

#[test]
fn a_retry_schedule_and_its_budget_allocate_nothing() {
    let config = RetryConfig::standard();
    let budget = RetryBudget::new(config.budget_limits());
    check("two failures", || {
        let at = MonotonicClock::now();
        budget.deposit(at);
        let mut retry = Retry::new(&config);
        let deadline = Deadline::new(at, None, None);
        while retry.next(at, deadline, Class::Transient, Some(SECOND), Ratio::ONE).is_ok() {
            drop(budget.withdraw(at));
        }
    });
}

#[test]
fn a_timeout_a_hedge_and_chaos_allocate_nothing_for_calls_that_are_ready() {
    let timeout = Timeout::new(TimeoutConfig::new(SECOND)).expect("valid");
    check("timeout", || now(timeout.run(|_| ready(Ok::<_, ()>(())))).expect("ready"));
    for config in [HedgeConfig::after(SECOND), HedgeConfig::quantile(Quantile::P99)] {
        let hedge = Hedge::new(config).expect("valid");
        check("hedge", || now(hedge.run(|_| ready(Ok::<_, ()>(())))).expect("ready"));
    }
    let chaos = Chaos::new(ChaosConfig::default()).expect("valid");
    check("chaos", || now(chaos.run(ready(()), || ())));
}

/// Limiter, bulkhead, retry, breaker and timeout, under a deadline.
fn pipeline() -> Pipeline {
    Pipeline::named("five policies")
        .deadline(30 * SECOND)
        .rate_limiter(RateLimiterConfig::new(rate("1000000/s")))
        .bulkhead(BulkheadConfig::new(number(100)))
        .retry(RetryConfig::standard())
        .circuit_breaker(CircuitBreakerConfig::standard())
        .attempt_timeout(SECOND)
        .build()
        .expect("valid")
}

#[test]
fn a_pipeline_of_five_policies_allocates_nothing() {
    let pipeline = pipeline();
    check("a call", || now(pipeline.call(|_| ready(Ok::<_, ()>(())))).expect("passes"));
    check("an idempotent call with a key and a class", || {
        let call = pipeline.call(|_| ready(Ok::<_, ()>(()))).idempotent().key("alice").cost(2);
        let call = call.remaining(SECOND).classify(|_| Class::Success);
        now(call).expect("passes");
    });
    let last = LastGood::new(SECOND);
    check("a call with a substitute", || {
        let call = pipeline.call(|_| ready(Ok::<_, ()>(1))).or_value(2);
        now(call).expect("passes");
        let call = pipeline.call(|_| ready(Ok::<_, ()>(1))).or_last_good(&last);
        now(call).expect("passes");
    });
}

#[test]
fn a_pipeline_that_rejects_allocates_nothing() {
    let pipeline = pipeline();
    pipeline.circuit_breaker().expect("it has one").set_mode(Mode::ForcedOpen);
    check("open", || {
        now(pipeline.call(|_| ready(Ok::<_, ()>(())))).expect_err("open");
    });
}
