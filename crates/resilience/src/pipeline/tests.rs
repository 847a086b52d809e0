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
async fn an_idempotent_call_is_repeated_on_schedule_and_tells_its_history() {
    let pipeline = Pipeline::named("retrying").retry(retry()).build().expect("valid");
    let operation = Operation::default();
    let error = pipeline.call(|_| operation.attempt(Does::Fail)).idempotent().await.expect_err("fails");
    assert_eq!(operation.waits(), [SECOND, 2 * SECOND]);
    let CallError::Exhausted(exhausted) = &error else { panic!("{error:?}") };
    assert_eq!(exhausted.attempts, 3);
    let began: Vec<_> = exhausted.history.iter().map(|attempt| attempt.began_after).collect();
    assert_eq!(began, [Duration::ZERO, SECOND, 3 * SECOND]);
    assert!(exhausted.history.iter().all(|attempt| attempt.class == Class::Transient));
    assert_eq!(error.operation(), Some(&"failed"));
    assert_eq!(error.to_string(), "all 3 attempts failed");
    assert_eq!(pipeline.stats(), Stats { failed: 1, retries: 2, ..Stats::default() });
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_marked_idempotent_has_one_attempt() {
    let pipeline = Pipeline::named("careful").retry(retry()).build().expect("valid");
    let operation = Operation::default();
    let error = pipeline.call(|_| operation.attempt(Does::Fail)).await.expect_err("fails");
    assert!(matches!(error, CallError::Operation("failed")), "{error:?}");
    assert_eq!(operation.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn attempts_know_their_number_their_time_and_their_key() {
    let pipeline = Pipeline::named("told")
        .deadline(4 * SECOND)
        .attempt_timeout(2 * SECOND)
        .retry(RetryConfig { attempts: NonZeroU32::new(2).expect("not zero"), ..retry() })
        .build()
        .expect("valid");
    let seen = Mutex::new(Vec::new());
    let call = pipeline.call(async |cx: Cx| {
        let key = cx.idempotency_key().map(str::to_owned);
        seen.lock().expect("unpoisoned").push((cx.attempt(), cx.remaining(), key));
        tokio::time::sleep(2 * SECOND).await;
        Err::<(), _>("late")
    });
    let error = call.idempotency_key("order-7").await.expect_err("too slow twice");
    assert!(matches!(error, CallError::DeadlineExceeded), "{error:?}");
    let key = || Some("order-7".to_owned());
    // 2 s for the attempt, 1 s of backoff: 1 s is left of the call.
    assert_eq!(*seen.lock().expect("unpoisoned"), [(1, Some(2 * SECOND), key()), (2, Some(SECOND), key())]);
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

#[tokio::test(start_paused = true)]
async fn an_answer_whose_sender_used_up_its_attempts_is_not_repeated_and_still_judges() {
    let pipeline = Pipeline::named("upper").retry(retry()).circuit_breaker(touchy()).build().expect("valid");
    let operation = Operation::default();
    let marked = |_: &Result<_, _>| Verdict { exhausted: true, ..Class::Transient.into() };
    let error = pipeline.call(|_| operation.attempt(Does::Fail)).idempotent().classify(marked).await;
    assert!(matches!(error, Err(CallError::Operation("failed"))), "{error:?}");
    assert_eq!(operation.attempts(), 1);
    let breaker = pipeline.circuit_breaker().expect("it has one");
    assert_eq!(breaker.stats(MonotonicClock::now()).phase, Phase::Open);
}

#[tokio::test(start_paused = true)]
async fn retries_stop_when_the_budget_is_spent() {
    let stingy = RetryConfig { budget: Ratio::ZERO, budget_minimum: 3, ..retry() };
    let pipeline = Pipeline::named("poor").retry(stingy).build().expect("valid");
    let operation = Operation::default();
    for _ in 0..4 {
        let _ = pipeline.call(|_| operation.attempt(Does::Fail)).idempotent().await;
    }
    assert_eq!(operation.attempts(), 4 + 3);
}

#[tokio::test(start_paused = true)]
async fn results_are_classified_too_and_hints_are_never_fired_early() {
    let pipeline = Pipeline::named("http")
        .retry(retry())
        .circuit_breaker(CircuitBreakerConfig::standard())
        .build()
        .expect("valid");
    let operation = Operation::default();
    let status = pipeline
        .call(|cx: Cx| {
            drop(operation.attempt(Does::Succeed));
            async move { Ok::<_, &str>(if cx.attempt() < 3 { 503 } else { 200 }) }
        })
        .classify(|outcome: &Result<u16, _>| match outcome {
            Ok(503) => Verdict { retry_after: Some(7 * SECOND), ..Class::Unavailable.into() },
            _ => Class::Success.into(),
        })
        .idempotent()
        .await;
    assert_eq!(status.expect("in the end"), 200);
    assert_eq!(operation.waits(), [7 * SECOND, 7 * SECOND]);
    let breaker = pipeline.circuit_breaker().expect("in force").stats(MonotonicClock::now());
    assert_eq!((breaker.window_calls, breaker.window_failures), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_classed_as_a_failure_is_handed_out_when_no_attempt_is_left() {
    let pipeline = Pipeline::named("http").retry(retry()).build().expect("valid");
    let call = pipeline.call(|_| async { Ok::<_, &str>(503) });
    let status = call.classify(|_: &Result<_, _>| Class::Unavailable).idempotent().await;
    assert_eq!(status.expect("the last answer"), 503);
    assert_eq!(pipeline.stats(), Stats { failed: 1, retries: 2, ..Stats::default() });
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_not_repeated() {
    let pipeline = Pipeline::named("wrong").retry(retry()).build().expect("valid");
    let operation = Operation::default();
    let call = pipeline.call(|_| operation.attempt(Does::Fail)).classify(|_: &Result<_, _>| Class::Permanent);
    assert!(matches!(call.idempotent().await, Err(CallError::Operation("failed"))));
    assert_eq!(operation.attempts(), 1);
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

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_at_any_await_gives_everything_back() {
    let pipeline = everything();
    // Waits for a place; then an attempt waits twice, fails, and is repeated after a second.
    for awaits in 0..8 {
        let place = pipeline.bulkhead().expect("in force").acquire(None).await.expect("free");
        {
            let call = pipeline.call(async |_| {
                tokio::task::yield_now().await;
                tokio::time::sleep(SECOND).await;
                Err::<(), _>("failed")
            });
            let mut call = pin!(call.idempotent());
            let mut place = Some(place);
            for step in 0..awaits {
                let polled = poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending())).await;
                assert!(polled, "still under way after {step} steps of {awaits}");
                drop(place.take());
                tokio::time::advance(SECOND).await;
            }
        }
        let stats = pipeline.bulkhead().expect("in force").stats();
        assert_eq!((stats.running, stats.waiting), (0, 0), "after {awaits} steps");
    }
    assert_eq!(pipeline.stats().cancelled, 7, "the one that was never polled is none");
}

/// Notes, when it is dropped, how many calls hold a place.
struct Witness<'a>(&'a Pipeline, &'a Cell<u32>);

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        self.1.set(self.0.bulkhead().expect("in force").stats().running);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_lets_go_of_its_operation_before_its_place() {
    let pipeline = Pipeline::named("narrow").bulkhead(one_at_a_time()).build().expect("valid");
    let running = Cell::new(0);
    let call = pipeline.call(async |_| {
        let _witness = Witness(&pipeline, &running);
        pending::<Result<(), ()>>().await
    });
    assert!(tokio::time::timeout(SECOND, call).await.is_err());
    assert_eq!(running.get(), 1, "nobody else was let in before it ended");
    assert_eq!(pipeline.bulkhead().expect("in force").stats().running, 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_anywhere_in_the_operation_is_a_failure_and_frees_the_place() {
    let pipeline =
        Pipeline::named("panics").bulkhead(one_at_a_time()).circuit_breaker(touchy()).build().expect("valid");
    for asynchronously in [false, true] {
        let call = pipeline.call(|_| {
            assert!(asynchronously, "before the future");
            async {
                tokio::task::yield_now().await;
                panic!("in the future");
                #[expect(unreachable_code, reason = "names the type")]
                Ok::<(), ()>(())
            }
        });
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let mut call = pin!(call);
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..3 {
                let _ = call.as_mut().poll(&mut context);
            }
        }));
        assert!(unwound.is_err());
        let breaker = pipeline.circuit_breaker().expect("in force");
        assert_eq!(breaker.stats(MonotonicClock::now()).phase, Phase::Open);
        breaker.reset();
        assert!(pipeline.call(|_| Does::Succeed.it()).await.is_ok(), "the place is free");
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

#[test]
fn what_can_not_work_is_refused_by_policy_and_setting() {
    let refused = |builder: PipelineBuilder| {
        let error = builder.build().expect_err("refused");
        (error.policy, error.invalid.field)
    };
    let named = || Pipeline::named("wrong");
    assert_eq!(refused(named().deadline(Duration::ZERO)), (Policy::Deadline, "deadline"));
    assert_eq!(refused(named().attempt_timeout(Duration::ZERO)), (Policy::AttemptTimeout, "attempt_timeout"));
    assert_eq!(
        refused(named().deadline(SECOND).attempt_timeout(SECOND)),
        (Policy::AttemptTimeout, "attempt_timeout")
    );
    assert_eq!(refused(named().deadline(SECOND).retry(retry())), (Policy::Retry, "base"));
    let patient = BulkheadConfig { queue: 1, wait: SECOND, ..one_at_a_time() };
    assert_eq!(refused(named().deadline(SECOND).bulkhead(patient)), (Policy::Bulkhead, "wait"));
    let never = CircuitBreakerConfig { failures: None, ..CircuitBreakerConfig::standard() };
    assert_eq!(refused(named().circuit_breaker(never)), (Policy::CircuitBreaker, "failures"));
    let error = named().deadline(SECOND).attempt_timeout(2 * SECOND).build().expect_err("refused");
    assert_eq!(
        error.to_string(),
        "pipeline `wrong`, attempt_timeout: `attempt_timeout`: 2s can never be over before the deadline, 1s"
    );
}

#[test]
fn a_file_describes_the_same_pipeline() {
    let json =
        r#"{ "deadline": "60s", "retry": "quick", "circuit_breaker": "sensitive", "attempt_timeout": "5s" }"#;
    let config: PipelineConfig = serde_json::from_str(json).expect("a pipeline");
    let built = Pipeline::named("a")
        .attempt_timeout(5 * SECOND)
        .circuit_breaker(CircuitBreakerConfig::sensitive())
        .retry(RetryConfig::quick())
        .deadline(60 * SECOND)
        .build()
        .expect("valid");
    assert_eq!(config, *built.config());
    assert!(serde_json::from_str::<PipelineConfig>(r#"{ "deadlin": "60s" }"#).is_err());
}

#[test]
fn it_explains_its_order_and_its_worst_case() {
    let text = everything().explain().to_string();
    assert_eq!(
        text,
        "pipeline `everything`, outermost first\n\
         \u{20} deadline         1m for the whole call\n\
         \u{20} rate_limiter     1000/s, counting calls\n\
         \u{20} bulkhead         1 at the same time, 1 wait up to 10s\n\
         \u{20} retry            3 attempts of calls marked idempotent, within 20% of the calls\n\
         \u{20} circuit_breaker  open for 30s when it opens\n\
         \u{20} attempt_timeout  5s for one attempt\n\
         \u{20} at worst         3 attempts, 28s, hints aside\n"
    );
    let bare =
        Pipeline::named("bare").retry(retry()).circuit_breaker(touchy()).build().expect("valid").explain();
    assert_eq!((bare.attempts_max, bare.duration_max, bare.warnings.len()), (3, None, 3));
}
