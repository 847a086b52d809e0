//! A panic in code of the user, wherever it is called, fails one call: nothing is held, wedged or counted twice.

use std::future::ready;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use intertie_core::failure::{Class, Evidence};
use intertie_resilience::batch::BatchError;
use intertie_resilience::circuit_breaker::Phase;
use intertie_resilience::coalesce::CoalesceError;
use intertie_resilience::pipeline::Verdict;
use intertie_resilience::timeout::{DetachingTimeout, Late, Timeout};
use intertie_resilience::{
    BatchConfig, Batcher, BulkheadConfig, CallError, Chaos, ChaosConfig, CircuitBreaker,
    CircuitBreakerConfig, CoalesceConfig, Group, Hedge, HedgeConfig, MonotonicClock, Pipeline, RetryConfig,
    TimeoutConfig,
};

const SECOND: Duration = Duration::from_secs(1);

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

/// Panics without a word to the panic hook.
fn panics<T>() -> T {
    resume_unwind(Box::new("as the test wants it"))
}

/// Awaits `call`, which panics at some time.
async fn panicking<T>(call: impl Future<Output = T>) {
    let mut call = pin!(call);
    std::future::poll_fn(|context: &mut Context<'_>| {
        match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context))) {
            Err(_) => Poll::Ready(()),
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(_)) => panic!("it was to panic"),
        }
    })
    .await;
}

/// Where a call of a pipeline panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Operation,
    Future,
    FutureLater,
    SecondAttempt,
    Classify,
    Substitute,
    SubstituteFuture,
}

#[tokio::test(start_paused = true)]
async fn in_a_pipeline() {
    let pipeline = Pipeline::named("everything")
        .bulkhead(BulkheadConfig::new(number(1)))
        .retry(RetryConfig::quick())
        .circuit_breaker(CircuitBreakerConfig {
            failures: NonZeroU32::new(1_000),
            ..CircuitBreakerConfig::sensitive()
        })
        .attempt_timeout(10 * SECOND)
        .build()
        .expect("valid");
    let places = [
        At::Operation,
        At::Future,
        At::FutureLater,
        At::SecondAttempt,
        At::Classify,
        At::Substitute,
        At::SubstituteFuture,
    ];
    for (calls, place) in (1..).zip(places) {
        let is = |other: At| place == other;
        let call = pipeline.call(|attempt| {
            if is(At::Operation) {
                panics::<()>();
            }
            async move {
                if is(At::Future) || is(At::SecondAttempt) && attempt.attempt() == 2 {
                    panics::<()>();
                }
                tokio::time::sleep(SECOND).await;
                if is(At::FutureLater) {
                    panics::<()>();
                }
                Err::<(), _>("down")
            }
        });
        let call = call.idempotent().classify(|_| {
            if is(At::Classify) {
                panics::<()>();
            }
            let exhausted = !is(At::SecondAttempt);
            Verdict { class: Class::Transient, retry_after: None, exhausted }
        });
        let substitute = |_: CallError<&'static str>| {
            if is(At::Substitute) {
                panics::<()>();
            }
            async { panics::<Result<(), CallError<&'static str>>>() }
        };
        panicking(async { call.or_else(substitute).await }).await;
        let (stats, bulkhead) = (pipeline.stats(), pipeline.bulkhead().expect("it has one"));
        assert_eq!(bulkhead.stats().running, 0, "{place:?}");
        assert_eq!(stats.failed + stats.cancelled, calls, "{place:?} is counted once: {stats:?}");
        let breaker = pipeline.circuit_breaker().expect("it has one").stats(MonotonicClock::now());
        assert!(breaker.window_failures > 0, "{place:?} is a failure: {breaker:?}");
        pipeline.circuit_breaker().expect("it has one").reset();
    }
    pipeline.call(async |_| Ok::<_, ()>(())).await.expect("as if nothing had happened");
}

/// Opens at the first failure, closes at the first success, and panics while `armed`.
fn told(armed: &'static AtomicBool) -> CircuitBreaker {
    let config = CircuitBreakerConfig {
        failures: NonZeroU32::new(1),
        successes_to_close: number(1),
        ..CircuitBreakerConfig::sensitive()
    };
    let listener = |_| {
        if armed.load(Ordering::Relaxed) {
            panics::<()>();
        }
    };
    CircuitBreaker::with_listener(config, listener).expect("valid")
}

#[test]
fn in_a_breakers_listener() {
    static ARMED: AtomicBool = AtomicBool::new(true);
    let breaker = told(&ARMED);
    let now = MonotonicClock::now();
    let fails = || breaker.try_admit(now).expect("closed").record(now, Evidence::Failure);
    catch_unwind(AssertUnwindSafe(fails)).expect_err("the listener's panic");
    assert_eq!(breaker.stats(now).phase, Phase::Open, "the transition was made before it was told");
    let probing = now + breaker.config().open;
    let asks = || drop(breaker.try_admit(probing));
    catch_unwind(AssertUnwindSafe(asks)).expect_err("the listener's panic");
    ARMED.store(false, Ordering::Relaxed);
    let later = probing + breaker.config().probe_age_max;
    let probe = breaker.try_admit(later).expect("the place of the probe that never was is free by now");
    probe.record(later, Evidence::Success);
    assert_eq!(breaker.stats(later).phase, Phase::Closed);
}

/// A second panic while the first unwinds would end the process.
#[test]
fn in_a_breakers_listener_that_is_told_of_a_panic() {
    static ARMED: AtomicBool = AtomicBool::new(true);
    let breaker = told(&ARMED);
    let dies = || {
        let _permit = breaker.try_admit(MonotonicClock::now()).expect("closed");
        panics::<()>();
    };
    catch_unwind(AssertUnwindSafe(dies)).expect_err("the call's panic");
    assert_eq!(breaker.stats(MonotonicClock::now()).phase, Phase::Open);
}

#[tokio::test(start_paused = true)]
async fn in_a_hedged_call() {
    let hedge = Hedge::new(HedgeConfig::after(SECOND)).expect("valid");
    for panics_at in 1..=2 {
        panicking(hedge.run(|attempt| {
            if attempt == panics_at {
                panics::<()>();
            }
            std::future::pending::<Result<(), ()>>()
        }))
        .await;
        panicking(hedge.run(async |attempt| {
            if attempt == panics_at {
                panics::<()>();
            }
            std::future::pending::<Result<(), ()>>().await
        }))
        .await;
    }
    hedge.run(|_| ready(Ok::<_, ()>(()))).await.expect("as if nothing had happened");
    assert_eq!(hedge.stats().calls, 5);
}

#[tokio::test(start_paused = true)]
async fn in_a_call_with_a_timeout() {
    let timeout = Timeout::new(TimeoutConfig::new(SECOND)).expect("valid");
    panicking(timeout.run(|_| panics::<std::future::Ready<Result<(), ()>>>())).await;
    panicking(timeout.run(async |_| panics::<Result<(), ()>>())).await;
    let hangs = timeout.run(|_| std::future::pending::<Result<(), ()>>());
    panicking(hangs.on_timeout(|_| panics::<Result<(), _>>())).await;
    let stats = timeout.stats();
    assert_eq!(stats.finished + stats.timed_out + stats.cancelled, 3, "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn in_the_spawner_of_detached_operations() {
    let config = TimeoutConfig { late: Late::Detach, grace: SECOND, ..TimeoutConfig::new(SECOND) };
    let timeout = DetachingTimeout::new(config, |_| panics::<()>()).expect("valid");
    for _ in 0..3 {
        panicking(timeout.run(|_| std::future::pending::<Result<(), ()>>())).await;
    }
    let (stats, detached) = (timeout.stats(), timeout.detached_stats());
    assert_eq!(detached.running, 0, "{detached:?}");
    assert_eq!(stats.timed_out + stats.cancelled, 3, "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn in_a_batch() {
    let config = BatchConfig { bisect: true, ..BatchConfig::new(number(10)) };
    let calls = |items: &[&str]| items.contains(&"before");
    let batcher = Batcher::with_classes(
        config,
        move |items: Vec<&'static str>| {
            if calls(&items) {
                panics::<()>();
            }
            async move {
                match items[0] {
                    "during" => panics(),
                    "class" => Err("down"),
                    _ => Ok(items.into_iter().map(Ok).collect()),
                }
            }
        },
        |_| panics(),
    );
    let batcher = batcher.expect("valid");
    for item in ["before", "during"] {
        assert_eq!(batcher.call(item).await, Err(BatchError::Panicked), "{item}");
    }
    // Two items, so that there is something to cut in halves.
    let (first, held, other) =
        tokio::join!(batcher.call("good"), batcher.call("class"), batcher.call("class"));
    assert_eq!(first, Ok("good"));
    for outcome in [held, other] {
        assert!(matches!(outcome, Err(BatchError::Panicked | BatchError::Batch(_))), "{outcome:?}");
    }
    assert_eq!(batcher.call("good").await, Ok("good"));
    assert_eq!((batcher.stats().running, batcher.stats().waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn in_a_coalesced_call() {
    let group: Group<u8, (), ()> = Group::new(CoalesceConfig::default()).expect("valid");
    let before = || panics::<std::future::Ready<Result<(), ()>>>();
    assert_eq!(group.run(1, before).await, Err(CoalesceError::Panicked));
    assert_eq!(group.run(1, async || panics::<Result<(), ()>>()).await, Err(CoalesceError::Panicked));
    assert_eq!(group.run(1, || ready(Ok(()))).await, Ok(()));
    assert_eq!(group.stats().running, 0);
}

#[test]
fn in_what_chaos_makes_instead() {
    let rate = intertie_core::quantity::Ratio::ONE;
    let config = ChaosConfig { enabled: true, fault_rate: rate, ..ChaosConfig::default() };
    let chaos = Chaos::new(config).expect("valid");
    let mut context = Context::from_waker(Waker::noop());
    let call = || pin!(chaos.run(ready(1), panics)).poll(&mut context).is_ready();
    catch_unwind(AssertUnwindSafe(call)).expect_err("the fault's panic");
    chaos.set_enabled(false);
    assert_eq!(pin!(chaos.run(ready(1), panics)).poll(&mut context), Poll::Ready(1));
}
