//! What becomes of a call when some of the attempts under way fail.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_waits_for_the_one_beside_it() {
    let first_fails = [(2 * SECOND, Does::Fail), (3 * SECOND, Does::Succeed)];
    let second_fails = [(4 * SECOND, Does::Succeed), (2 * SECOND, Does::Fail)];
    for (attempts, winner) in [(first_fails, 2), (second_fails, 1)] {
        let pipeline = hedging().retry(retry()).circuit_breaker(CircuitBreakerConfig::standard());
        let pipeline = pipeline.build().expect("valid");
        let script = Script::new(attempts);
        assert_eq!(pipeline.call(|cx| script.attempt(cx)).idempotent().await.expect("succeeds"), winner);
        assert_eq!(script.began(), [Duration::ZERO, SECOND], "nothing is repeated meanwhile");
        assert_eq!(script.started.elapsed(), 4 * SECOND);
        let breaker = pipeline.circuit_breaker().expect("in force").stats(MonotonicClock::now());
        assert_eq!((breaker.window_calls, breaker.window_failures), (2, 1), "both ended");
    }
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_the_last_decides_and_retry_repeats_the_whole() {
    let twice = RetryConfig { attempts: NonZeroU32::new(2).expect("not zero"), ..retry() };
    let pipeline = hedging().retry(twice).build().expect("valid");
    let (at_two, at_three) = (2 * SECOND, 3 * SECOND);
    // In both cases the first round is over after 4 s, and a second of backoff follows.
    for (first, second, order) in
        [(4 * SECOND, at_two, [SECOND, Duration::ZERO]), (at_two, at_three, [Duration::ZERO, SECOND])]
    {
        let script =
            Script::new([first, second, 2 * SECOND, Duration::ZERO].map(|after| (after, Does::Fail)));
        let error = pipeline.call(|cx| script.attempt(cx)).idempotent().await.expect_err("fails");
        let CallError::Exhausted(exhausted) = error else { panic!("{error:?}") };
        assert!(matches!(exhausted.last, AttemptError::Operation("failed")));
        assert_eq!(script.began(), [Duration::ZERO, SECOND, 5 * SECOND, 6 * SECOND]);
        let failed: Vec<_> = exhausted.history.iter().map(|record| record.began_after).collect();
        assert_eq!(failed, [order[0], order[1], 6 * SECOND, 5 * SECOND], "in the order in which they failed");
        assert_eq!(exhausted.attempts, 4);
    }
    assert_eq!(pipeline.stats(), Stats { failed: 2, retries: 2, ..Stats::default() });
    assert_eq!(hedged(&pipeline).failed, 4, "two rounds of each call");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_an_attempt_beside_the_last_asked_for_is_kept() {
    let pipeline = hedging().retry(retry()).build().expect("valid");
    let script =
        Script::new([(2 * SECOND, Does::Fail), (3 * SECOND, Does::Fail), (Duration::ZERO, Does::Succeed)]);
    let call = pipeline.call(|cx| script.attempt(cx)).idempotent();
    // The first asks for 20 s at 2 s; the second, which fails at 4 s, for nothing.
    let asked = Cell::new(Some(20 * SECOND));
    let call = call.classify(|outcome: &Result<_, _>| match outcome {
        Ok(_) => Class::Success.into(),
        Err(_) => Verdict { retry_after: asked.take(), ..Class::Throttled.into() },
    });
    assert_eq!(call.await.expect("the third succeeds"), 3);
    assert_eq!(script.began(), [Duration::ZERO, SECOND, 22 * SECOND]);
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_beside_others_against_a_hint() {
    let three = HedgeConfig { attempts: NonZeroU32::new(3).expect("not zero"), ..after_a_second() };
    let pipeline = hedging().hedge(three).build().expect("valid");
    for place in [0, 1] {
        let mut attempts = [(9 * SECOND, Does::Succeed), (9 * SECOND, Does::Succeed)];
        attempts[place] = (SECOND / 2 + SECOND * (1 - place as u32), Does::Fail);
        let script = Script::new(attempts);
        let call = pipeline.call(|cx| script.attempt(cx)).idempotent();
        let call = call.classify(|outcome: &Result<_, _>| match outcome {
            Ok(_) => Class::Success.into(),
            Err(_) => Verdict { retry_after: Some(5 * SECOND), ..Class::Throttled.into() },
        });
        assert_eq!(call.await.expect("the other succeeds"), 2 - place as u32);
        assert_eq!(script.began().len(), 2, "the third would have begun after 2 s");
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_that_were_used_up_further_down_are_not_repeated_whoever_said_so() {
    let pipeline = hedging().retry(retry()).build().expect("valid");
    let script = Script::new([(2 * SECOND, Does::Fail), (3 * SECOND, Does::Fail)]);
    let call = pipeline.call(|cx| script.attempt(cx)).idempotent();
    let says = Cell::new(true);
    let call =
        call.classify(|_: &Result<_, _>| Verdict { exhausted: says.take(), ..Class::Transient.into() });
    assert!(matches!(call.await, Err(CallError::Exhausted(all)) if all.attempts == 2));
    assert_eq!(script.began().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_no_repetition_mends_ends_the_call_at_once() {
    let pipeline = hedging().retry(retry()).build().expect("valid");
    for (attempts, left) in [
        ([(9 * SECOND, Does::Fail), (SECOND, Does::Fail)], 1),
        ([(2 * SECOND, Does::Fail), (9 * SECOND, Does::Fail)], 1),
    ] {
        let script = Script::new(attempts);
        let call = pipeline.call(|cx| script.attempt(cx)).classify(|_: &Result<_, _>| Class::Permanent);
        assert!(call.idempotent().await.is_err());
        assert_eq!((script.started.elapsed(), script.left()), (2 * SECOND, left));
    }
    assert_eq!(hedged(&pipeline).won_by_hedge, 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_any_attempt_is_a_failure_and_frees_the_place() {
    let pipeline = hedging().bulkhead(one_at_a_time()).circuit_breaker(touchy()).build().expect("valid");
    // In the first or the second attempt, before its future is made or while it runs.
    for (number, asynchronously) in [(1, true), (2, false), (2, true)] {
        let call = pipeline.call(move |cx: Cx| {
            let panics = cx.attempt() == number;
            assert!(!panics || asynchronously, "before the future");
            async move {
                tokio::time::sleep(2 * SECOND).await;
                assert!(!panics, "in the future");
                pending::<Result<(), ()>>().await
            }
        });
        {
            let mut call = pin!(call.idempotent());
            let mut context = Context::from_waker(Waker::noop());
            while let Ok(poll) = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut context))) {
                assert!(poll.is_pending());
                tokio::time::advance(SECOND / 2).await;
            }
        }
        assert_eq!(phase(&pipeline), Phase::Open, "attempt {number}");
        pipeline.circuit_breaker().expect("in force").reset();
        assert!(pipeline.call(|_| Does::Succeed.it()).await.is_ok(), "the place is free");
    }
}
