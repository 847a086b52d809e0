//! Faults and latency that are injected inside of everything else.

use super::*;
use crate::HedgeConfig;

fn chaos() -> ChaosConfig {
    ChaosConfig { enabled: true, ..ChaosConfig::default() }
}

fn always_fails() -> ChaosConfig {
    ChaosConfig { fault_rate: Ratio::ONE, ..chaos() }
}

fn always_waits(latency: Duration) -> ChaosConfig {
    ChaosConfig { latency_rate: Ratio::ONE, latency, ..chaos() }
}

#[tokio::test(start_paused = true)]
async fn a_fault_fails_the_attempt_at_once_without_reaching_the_operation() {
    let pipeline = Pipeline::named("chaotic").chaos(always_fails()).build().expect("valid");
    let operation = Operation::default();
    // Timers have whole milliseconds; a fault needs none.
    tokio::time::advance(Duration::from_micros(1)).await;
    let started = tokio::time::Instant::now();
    let error = pipeline.call(|_| operation.attempt(Does::Succeed)).idempotent().await.expect_err("injected");
    assert!(matches!(error, CallError::Injected), "{error:?}");
    assert_eq!((operation.attempts(), started.elapsed()), (0, Duration::ZERO));
    assert_eq!(pipeline.stats(), Stats { failed: 1, ..Stats::default() });
    let chaos = pipeline.chaos().expect("in force");
    assert_eq!(chaos.stats().faults, 1);
    chaos.set_enabled(false);
    assert!(pipeline.call(|_| operation.attempt(Does::Succeed)).await.is_ok());
    assert_eq!((operation.attempts(), chaos.stats().faults), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn faults_are_repeated_and_seen_by_the_breaker() {
    let pipeline = Pipeline::named("chaotic")
        .retry(retry())
        .circuit_breaker(CircuitBreakerConfig::standard())
        .chaos(always_fails());
    let pipeline = pipeline.build().expect("valid");
    let operation = Operation::default();
    let started = tokio::time::Instant::now();
    let error = pipeline.call(|_| operation.attempt(Does::Succeed)).idempotent().await.expect_err("injected");
    let CallError::Exhausted(exhausted) = error else { panic!("{error:?}") };
    assert!(matches!(exhausted.last, AttemptError::Injected));
    assert_eq!((exhausted.attempts, exhausted.history.len(), operation.attempts()), (3, 3, 0));
    assert_eq!(started.elapsed(), 3 * SECOND, "the waits between them");
    let breaker = pipeline.circuit_breaker().expect("in force").stats(MonotonicClock::now());
    assert_eq!((breaker.window_calls, breaker.window_failures), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_fault_in_a_call_that_is_not_idempotent_is_final() {
    let pipeline = Pipeline::named("chaotic").retry(retry()).chaos(always_fails()).build().expect("valid");
    assert!(matches!(pipeline.call(|_| Does::Succeed.it()).await, Err(CallError::Injected)));
    assert_eq!(pipeline.stats().retries, 0);
}

#[tokio::test(start_paused = true)]
async fn latency_comes_before_the_operation_and_before_a_fault() {
    for fault_rate in [Ratio::ZERO, Ratio::ONE] {
        let chaos = ChaosConfig { fault_rate, ..always_waits(2 * SECOND) };
        let pipeline = Pipeline::named("chaotic").chaos(chaos).build().expect("valid");
        let operation = Operation::default();
        let started = tokio::time::Instant::now();
        let outcome = pipeline.call(|_| operation.attempt(Does::Succeed)).await;
        assert_eq!(started.elapsed(), 2 * SECOND);
        assert_eq!(outcome.is_ok(), fault_rate == Ratio::ZERO, "{outcome:?}");
        assert_eq!(operation.attempts(), usize::from(outcome.is_ok()));
        assert_eq!(pipeline.chaos().expect("in force").stats().delays, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn latency_runs_into_the_attempt_timeout_and_the_deadline() {
    let slow = Pipeline::named("chaotic").chaos(always_waits(9 * SECOND)).circuit_breaker(touchy());
    let open = |pipeline: &Pipeline| {
        pipeline.circuit_breaker().expect("in force").stats(MonotonicClock::now()).phase == Phase::Open
    };
    let pipeline = slow.clone().attempt_timeout(SECOND).build().expect("valid");
    let operation = Operation::default();
    let error = pipeline.call(|_| operation.attempt(Does::Succeed)).await.expect_err("late");
    assert!(matches!(error, CallError::AttemptTimeout), "{error:?}");
    assert!(open(&pipeline), "as if the dependency had been slow");
    let pipeline = slow.deadline(SECOND).build().expect("valid");
    let error = pipeline.call(|_| operation.attempt(Does::Succeed)).await.expect_err("late");
    assert!(matches!(error, CallError::DeadlineExceeded), "{error:?}");
    assert_eq!(operation.attempts(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_was_held_up_knows_what_is_left_of_its_attempt() {
    let pipeline = Pipeline::named("chaotic").chaos(always_waits(SECOND)).attempt_timeout(3 * SECOND);
    let pipeline = pipeline.build().expect("valid");
    let started = tokio::time::Instant::now();
    let call = pipeline.call(async |cx: Cx| {
        assert_eq!((cx.attempt(), cx.remaining()), (1, Some(2 * SECOND)));
        pending::<Result<(), ()>>().await
    });
    assert!(matches!(call.await, Err(CallError::AttemptTimeout)));
    assert_eq!(started.elapsed(), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_held_up_is_hedged_like_any_slow_one() {
    let half =
        |seed| ChaosConfig { latency_rate: Ratio::from_percent(50), seed, ..always_waits(60 * SECOND) };
    // The first attempt waits, and the second does not.
    let is_it = |seed: &u64| {
        let chaos = Chaos::new(half(*seed)).expect("valid");
        (chaos.draw().is_some(), chaos.draw().is_some()) == (true, false)
    };
    let chaos = half((0..).find(is_it).expect("there are many"));
    let hedge = HedgeConfig::after(SECOND);
    let pipeline = Pipeline::named("chaotic").chaos(chaos).hedge(hedge).build().expect("valid");
    let operation = Operation::default();
    let started = tokio::time::Instant::now();
    let numbers = Mutex::new(Vec::new());
    let call = pipeline.call(|cx: Cx| {
        numbers.lock().expect("unpoisoned").push(cx.attempt());
        operation.attempt(Does::Succeed)
    });
    assert!(call.idempotent().await.is_ok());
    assert_eq!(started.elapsed(), SECOND);
    assert_eq!(*numbers.lock().expect("unpoisoned"), [2], "the first was not reached");
    assert_eq!(pipeline.hedge().expect("in force").stats().won_by_hedge, 1);
}

#[tokio::test(start_paused = true)]
async fn attempts_beside_the_first_meet_chaos_too_and_keep_their_numbers() {
    let waits = ChaosConfig { fault_rate: Ratio::ONE, ..always_waits(2 * SECOND) };
    let pipeline = Pipeline::named("chaotic").chaos(waits).hedge(HedgeConfig::after(SECOND));
    let pipeline = pipeline.build().expect("valid");
    let operation = Operation::default();
    let error = pipeline.call(|_| operation.attempt(Does::Succeed)).idempotent().await.expect_err("injected");
    assert!(
        matches!(&error, CallError::Exhausted(all) if all.attempts == 2 && matches!(all.last, AttemptError::Injected)),
        "{error:?}"
    );
    assert_eq!((operation.attempts(), pipeline.chaos().expect("in force").stats().faults), (0, 2));

    let waits = always_waits(2 * SECOND);
    let pipeline = Pipeline::named("chaotic").chaos(waits).hedge(HedgeConfig::after(SECOND));
    let pipeline = pipeline.build().expect("valid");
    let numbers = Mutex::new(Vec::new());
    let call = pipeline.call(async |cx: Cx| {
        numbers.lock().expect("unpoisoned").push(cx.attempt());
        tokio::time::sleep(5 * SECOND).await;
        Ok::<_, ()>(cx.attempt())
    });
    assert_eq!(call.idempotent().await.expect("succeeds"), 1);
    assert_eq!(*numbers.lock().expect("unpoisoned"), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_it_is_held_up_gives_everything_back() {
    let pipeline = Pipeline::named("chaotic")
        .bulkhead(one_at_a_time())
        .circuit_breaker(CircuitBreakerConfig { successes_to_close: NonZeroU32::MIN, ..touchy() })
        .chaos(always_waits(9 * SECOND))
        .build()
        .expect("valid");
    let chaos = pipeline.chaos().expect("in force");
    chaos.set_enabled(false);
    assert!(pipeline.call(|_| Does::Fail.it()).await.is_err());
    tokio::time::advance(30 * SECOND).await;
    chaos.set_enabled(true);
    assert!(tokio::time::timeout(SECOND, pipeline.call(|_| Does::Succeed.it())).await.is_err());
    chaos.set_enabled(false);
    assert!(pipeline.call(|_| Does::Succeed.it()).await.is_ok(), "neither the place nor the probe is held");
    assert_eq!(pipeline.stats().cancelled, 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_after_the_latency_is_a_failure() {
    let pipeline = Pipeline::named("chaotic").circuit_breaker(touchy()).chaos(always_waits(SECOND));
    let pipeline = pipeline.build().expect("valid");
    let mut call =
        pin!(pipeline.call(|_| -> std::future::Ready<Result<(), ()>> { panic!("before the future") }));
    let mut poll = || {
        let mut context = Context::from_waker(Waker::noop());
        catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut context).is_pending()))
    };
    assert!(poll().expect("held up"));
    tokio::time::advance(SECOND).await;
    assert!(poll().is_err());
    let breaker = pipeline.circuit_breaker().expect("in force").stats(MonotonicClock::now());
    assert_eq!(breaker.phase, Phase::Open);
}

#[test]
fn chaos_is_explained_warned_of_and_refused_when_it_does_nothing() {
    let build = |chaos| Pipeline::named("chaotic").deadline(SECOND).chaos(chaos).build();
    let explained = build(always_fails()).expect("valid").explain();
    let last = explained.policies.last().expect("two policies");
    assert_eq!(*last, (Policy::Chaos, "on: 100% of the attempts fail, 0% are held up".to_owned()));
    assert_eq!(explained.warnings, ["chaos is enabled: calls fail or wait that would not"]);
    let off = build(ChaosConfig { enabled: false, ..always_fails() }).expect("valid").explain();
    assert!(off.warnings.is_empty(), "{:?}", off.warnings);
    let error = build(chaos()).expect_err("nothing is injected");
    assert_eq!((error.policy, error.invalid.field), (Policy::Chaos, "enabled"));
}
