//! Which attempts are made, when, and what each knows.

use super::*;

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
    assert_eq!(error.to_string(), "the call failed after 3 attempts");
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
        let error = pipeline.call(|_| operation.attempt(Does::Fail)).idempotent().await.expect_err("fails");
        assert!(error.is_exhausted(), "the attempts of the first, the budget of the others: {error}");
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

#[tokio::test(start_paused = true)]
async fn a_repetition_keeps_its_place_in_the_budget_until_it_ended_or_its_caller_left() {
    let retry = RetryConfig { budget_in_flight: Some(NonZeroU32::MIN), ..retry() };
    let pipeline = Pipeline::named("narrow").retry(retry).build().expect("valid");
    let failing = async || pipeline.call(|_| Does::Fail.it()).idempotent().await;
    let (first, second) = tokio::join!(failing(), failing());
    assert!(matches!(first, Err(CallError::Exhausted(exhausted)) if exhausted.attempts == 3));
    let attempts = |result| match result {
        Err(CallError::Exhausted(exhausted)) => exhausted.attempts,
        other => panic!("{other:?}"),
    };
    assert_eq!(attempts(second), 1, "the first one's wait holds the place");
    let left = tokio::time::timeout(SECOND / 2, failing()).await;
    assert!(left.is_err(), "it waited for its repetition");
    let alone = failing().await;
    assert!(matches!(alone, Err(CallError::Exhausted(exhausted)) if exhausted.attempts == 3));
}

#[tokio::test(start_paused = true)]
async fn callers_that_a_limiter_names_have_their_own_quotas_in_a_pipeline_too() {
    let named = [(
        "alice".to_owned(),
        crate::rate_limiter::QuotaOverride { limit: "3/min".parse().expect("a rate"), burst: None },
    )];
    let limiter =
        RateLimiterConfig { overrides: named.into_iter().collect(), ..per_minute("1/min", Count::Calls) };
    let pipeline = Pipeline::named("named").rate_limiter(limiter).build().expect("valid");
    for (caller, quota) in [("alice", 3), ("bob", 1)] {
        let mut admitted = 0;
        for _ in 0..5 {
            admitted += u32::from(pipeline.call(|_| Does::Succeed.it()).key(caller).await.is_ok());
        }
        assert_eq!(admitted, quota, "{caller}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_bulkhead_sees_each_attempt() {
    let adaptive = serde_json::json!({ "algorithm": "aimd", "max": 50, "latency_max": "100ms" });
    let adaptive = serde_json::from_value(adaptive).expect("valid");
    let bulkhead = BulkheadConfig {
        adaptive: Some(adaptive),
        ..BulkheadConfig::new(NonZeroU32::new(20).expect("not zero"))
    };
    let pipeline = Pipeline::named("learning").bulkhead(bulkhead).retry(retry()).attempt_timeout(SECOND / 2);
    let pipeline = pipeline.build().expect("valid");
    for _ in 0..10 {
        let second =
            async |cx: Cx| if cx.attempt() == 1 { Does::Hang.it().await } else { Does::Succeed.it().await };
        assert!(pipeline.call(second).idempotent().await.is_ok());
    }
    let limit = pipeline.bulkhead().expect("in force").stats().limit;
    assert!(limit < 20, "half of the attempts ran into their limit: {limit}");
}
