//! What the other policies make of several attempts at once, and of calls that are dropped.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_probe_that_loses_leaves_a_half_open_breaker_to_the_next() {
    let pipeline = hedging().circuit_breaker(CircuitBreakerConfig {
        successes_to_close: NonZeroU32::new(2).expect("not zero"),
        ..touchy()
    });
    let pipeline = pipeline.build().expect("valid");
    let _ = pipeline.call(|_| Does::Fail.it()).await;
    tokio::time::advance(30 * SECOND).await;
    let script = Script::new([(10 * SECOND, Does::Succeed), (SECOND, Does::Succeed)]);
    assert_eq!(pipeline.call(|cx| script.attempt(cx)).idempotent().await.expect("succeeds"), 2);
    for _ in 0..2 {
        assert!(pipeline.call(|_| Does::Succeed.it()).await.is_ok(), "the loser holds no probe");
    }
    assert_eq!(phase(&pipeline), Phase::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_attempt_timeout_ends_all_of_them() {
    let pipeline = hedging().attempt_timeout(3 * SECOND).circuit_breaker(touchy()).build().expect("valid");
    let script = Script::new([(9 * SECOND, Does::Succeed), (9 * SECOND, Does::Succeed)]);
    let error = pipeline.call(|cx| script.attempt(cx)).idempotent().await.expect_err("too slow");
    assert!(
        matches!(&error, CallError::Exhausted(all) if matches!(all.last, AttemptError::Timeout) && all.attempts == 2),
        "{error:?}"
    );
    assert_eq!((script.started.elapsed(), script.left()), (3 * SECOND, 2));
    assert_eq!(phase(&pipeline), Phase::Open, "the first had all its time");
    assert_eq!((pipeline.stats().attempt_timeouts, hedged(&pipeline).failed), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_timeout_also_ends_one_that_outlived_the_first() {
    let pipeline = hedging().attempt_timeout(3 * SECOND).retry(retry()).build().expect("valid");
    let script =
        Script::new([(2 * SECOND, Does::Fail), (9 * SECOND, Does::Succeed), (Duration::ZERO, Does::Succeed)]);
    assert_eq!(pipeline.call(|cx| script.attempt(cx)).idempotent().await.expect("repeated"), 3);
    assert_eq!(script.began(), [Duration::ZERO, SECOND, 4 * SECOND], "3 s and a second of backoff");
    assert_eq!(pipeline.stats().attempt_timeouts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_opened_refuses_the_second_and_the_first_goes_on() {
    let pipeline = hedging().circuit_breaker(touchy()).build().expect("valid");
    let script = Script::new([(3 * SECOND, Does::Succeed)]);
    let slow = pipeline.call(|cx| script.attempt(cx)).idempotent();
    let failing = async {
        tokio::time::sleep(SECOND / 2).await;
        pipeline.call(|_| Does::Fail.it()).await
    };
    let (slow, failing) = tokio::join!(slow, failing);
    assert!(failing.is_err());
    assert_eq!(slow.expect("goes on"), 1);
    assert_eq!(script.began().len(), 1);
    assert_eq!(hedged(&pipeline), hedge::Stats { calls: 1, ..hedge::Stats::default() }, "none began");
}

#[tokio::test(start_paused = true)]
async fn a_limiter_that_counts_attempts_counts_hedges() {
    for (count, quota, attempts) in
        [(Count::Attempts, "1/min", 1), (Count::Attempts, "2/min", 2), (Count::Calls, "1/min", 2)]
    {
        let pipeline = hedging().rate_limiter(per_minute(quota, count)).build().expect("valid");
        let script = Script::new([(3 * SECOND, Does::Succeed), (9 * SECOND, Does::Succeed)]);
        assert_eq!(pipeline.call(|cx| script.attempt(cx)).idempotent().await.expect("succeeds"), 1);
        assert_eq!(script.began().len(), attempts, "{quota} {count:?}");
        assert_eq!(hedged(&pipeline).hedged, attempts as u64 - 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_lets_go_of_all_attempts_before_its_place() {
    for seconds in 0..6 {
        let pipeline = hedging()
            .bulkhead(one_at_a_time())
            .circuit_breaker(CircuitBreakerConfig::standard())
            .retry(retry())
            .build()
            .expect("valid");
        let script =
            Script::new([(3 * SECOND, Does::Fail), (3 * SECOND, Does::Fail), (9 * SECOND, Does::Fail)]);
        let call = pipeline.call(|cx| script.attempt(cx)).idempotent();
        let limit = seconds * SECOND + SECOND / 2;
        assert!(tokio::time::timeout(limit, call).await.is_err());
        // The first two end after 3 and 4 s; the third begins after another one.
        let under_way = [1, 2, 2, 1, 0, 1][seconds as usize];
        assert_eq!(script.left(), under_way, "after {limit:?}");
        assert_eq!(pipeline.bulkhead().expect("in force").stats().running, 0);
        let breaker = pipeline.circuit_breaker().expect("in force").stats(MonotonicClock::now());
        assert_eq!(breaker.window_calls, [0, 0, 0, 1, 2, 2][seconds as usize], "after {limit:?}");
        assert_eq!(pipeline.stats().cancelled, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_one_that_outlived_the_first_is_told_to_the_breaker() {
    let pipeline = hedging().attempt_timeout(20 * SECOND).circuit_breaker(CircuitBreakerConfig::standard());
    let pipeline = pipeline.build().expect("valid");
    let script = Script::new([(SECOND + SECOND / 2, Does::Fail), (99 * SECOND, Does::Succeed)]);
    let error = pipeline.call(|cx| script.attempt(cx)).idempotent().await.expect_err("too slow");
    let breaker = pipeline.circuit_breaker().expect("in force").stats(MonotonicClock::now());
    assert_eq!((breaker.window_calls, breaker.window_failures), (2, 2), "it had 19 of its 20 seconds");
    let CallError::Exhausted(exhausted) = error else { panic!("{error:?}") };
    let began: Vec<_> = exhausted.history.iter().map(|attempt| attempt.began_after).collect();
    assert_eq!(began, [Duration::ZERO, SECOND], "each attempt once");
}

#[tokio::test(start_paused = true)]
async fn a_second_attempt_that_had_little_time_does_not_speak_against_the_dependency() {
    let pipeline = hedging().attempt_timeout(3 * SECOND).circuit_breaker(CircuitBreakerConfig::standard());
    let pipeline = pipeline.build().expect("valid");
    let script = Script::new([(2 * SECOND, Does::Fail), (99 * SECOND, Does::Succeed)]);
    let _ = pipeline.call(|cx| script.attempt(cx)).idempotent().await.expect_err("too slow");
    let breaker = pipeline.circuit_breaker().expect("in force").stats(MonotonicClock::now());
    assert_eq!(
        (breaker.window_calls, breaker.window_failures),
        (1, 1),
        "two of three seconds are not enough"
    );
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_refused_costs_no_budget() {
    let hedge = HedgeConfig { budget: Ratio::ZERO, budget_minimum: 1, ..after_a_second() };
    let pipeline = hedging().hedge(hedge).rate_limiter(per_minute("2/min", Count::Attempts));
    let pipeline = pipeline.build().expect("valid");
    let slow = async || {
        pipeline
            .call(async |_| {
                tokio::time::sleep(3 * SECOND).await;
                Ok::<_, ()>(())
            })
            .idempotent()
            .await
    };
    let (first, second) = tokio::join!(slow(), slow());
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(hedged(&pipeline).hedged, 0, "the quota was used up");
    tokio::time::advance(60 * SECOND).await;
    assert!(slow().await.is_ok());
    assert_eq!(hedged(&pipeline).hedged, 1, "and the budget was not");
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_no_repetition_mends_is_the_operations_own_whatever_was_beside_it() {
    let pipeline = hedging().build().expect("valid");
    let script = Script::new([(2 * SECOND, Does::Fail), (9 * SECOND, Does::Succeed)]);
    let call = pipeline.call(|cx| script.attempt(cx)).idempotent();
    let error = call.classify(|outcome: &Result<_, _>| match outcome {
        Ok(_) => Class::Success,
        Err(_) => Class::Permanent,
    });
    let error = error.await.expect_err("permanent");
    assert!(matches!(error, CallError::Operation("failed")), "{error:?}");
    assert!(!error.is_exhausted());
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_one_of_several_attempts_counts_once() {
    for panicking in [1, 2, 3] {
        let three = HedgeConfig { attempts: NonZeroU32::new(3).expect("not zero"), ..after_a_second() };
        let pipeline = hedging().hedge(three).circuit_breaker(CircuitBreakerConfig::standard());
        let pipeline = pipeline.build().expect("valid");
        let mut call = Box::pin(
            pipeline
                .call(async |cx| {
                    tokio::time::sleep(9 * SECOND).await;
                    assert_ne!(cx.attempt(), panicking, "as planned");
                    pending::<Result<(), ()>>().await
                })
                .idempotent(),
        );
        let mut panicked = false;
        for _ in 0..20 {
            let poll = poll_fn(|context| {
                Poll::Ready(catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context).is_pending())))
            });
            match poll.await {
                Ok(pending) => assert!(pending),
                Err(_) => {
                    panicked = true;
                    break;
                }
            }
            tokio::time::advance(SECOND).await;
        }
        assert!(panicked);
        drop(call);
        let breaker = pipeline.circuit_breaker().expect("in force").stats(MonotonicClock::now());
        assert_eq!((breaker.window_calls, breaker.window_failures), (1, 1), "attempt {panicking}");
        assert_eq!(pipeline.stats().cancelled, 1);
    }
}
