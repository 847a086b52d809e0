use std::future::pending;

use intertie_core::failure::Class;
use intertie_core::quantity::Rate;
use intertie_core::rejection::Policy;
use intertie_resilience::circuit_breaker::Phase;
use intertie_resilience::pipeline::PipelineBuilder;
use intertie_resilience::{
    BulkheadConfig, CallError, CircuitBreakerConfig, MonotonicClock, Pipeline, PipelineConfig,
    RateLimiterConfig, RetryConfig,
};

use super::{SECOND, number};

fn phase(pipeline: &Pipeline) -> Phase {
    pipeline.circuit_breaker().expect("it has one").stats(MonotonicClock::now()).phase
}

async fn fail(pipeline: &Pipeline, times: u32) {
    for _ in 0..times {
        pipeline.call(async |_| Err::<(), _>("down")).await.expect_err("it fails");
    }
}

/// Defect 5: changed settings throw state away (resilience4j #299, #546, #850, #975, #1116, #1960 and #2181).
#[tokio::test(start_paused = true)]
async fn changed_settings_of_one_policy_leave_the_state_of_the_others() {
    let limit: Rate = "10/s".parse().expect("a rate");
    let before = Pipeline::named("payments")
        .circuit_breaker(CircuitBreakerConfig::sensitive())
        .rate_limiter(RateLimiterConfig::new(limit))
        .build()
        .expect("valid");
    fail(&before, 4).await;
    let config = PipelineConfig { attempt_timeout: Some(SECOND), ..before.config().clone() };
    let after = before.reconfigured(config).expect("valid");
    fail(&after, 1).await;
    assert_eq!(phase(&after), Phase::Open, "four failures before and one after are five");
    assert_eq!(after.rate_limiter().expect("it has one").stats().admitted, 5);
    assert_eq!(after.stats().failed, 5);
}

/// Defect 5, second half: one bad reload, and later good ones are not seen any more (Polly).
#[tokio::test(start_paused = true)]
async fn settings_that_can_not_work_are_refused_whole_and_leave_the_pipeline_as_it_was() {
    let before = Pipeline::named("payments").attempt_timeout(SECOND).build().expect("valid");
    for _ in 0..2 {
        let nonsense = PipelineConfig { deadline: Some(SECOND), ..before.config().clone() };
        before.reconfigured(nonsense).expect_err("the attempt alone takes as long");
        before.call(async |_| Ok::<_, ()>(())).await.expect("as before");
        let config = PipelineConfig { deadline: Some(2 * SECOND), ..before.config().clone() };
        before.reconfigured(config).expect("valid");
    }
}

/// Defect 5, third half: a call under way ends with "disposed" when settings change (Polly #1578).
#[tokio::test(start_paused = true)]
async fn a_call_under_way_ends_as_it_began() {
    let before = Pipeline::named("payments").attempt_timeout(10 * SECOND).build().expect("valid");
    let operation = async |_| {
        tokio::time::sleep(5 * SECOND).await;
        Ok::<_, ()>("paid")
    };
    let call = async { before.call(operation).await };
    let changes = async {
        tokio::time::sleep(SECOND).await;
        let config = PipelineConfig { attempt_timeout: Some(SECOND), ..before.config().clone() };
        drop(before.reconfigured(config).expect("valid"));
    };
    let (outcome, ()) = tokio::join!(call, changes);
    assert_eq!(outcome.expect("its own limit is ten seconds"), "paid");
}

/// Defect 6: the order in which policies were given decides, and is read the wrong way round (resilience4j
/// #515, #558, #593, #614, #1444 and #1657, erpc/erpc #418).
#[tokio::test(start_paused = true)]
async fn the_order_in_which_policies_are_given_changes_nothing() {
    let policies: [fn(PipelineBuilder) -> PipelineBuilder; 4] = [
        |pipeline| pipeline.retry(RetryConfig { budget_minimum: 100, ..RetryConfig::quick() }),
        |pipeline| pipeline.circuit_breaker(CircuitBreakerConfig::sensitive()),
        |pipeline| pipeline.attempt_timeout(SECOND),
        |pipeline| pipeline.deadline(20 * SECOND),
    ];
    let mut seen = Vec::new();
    for first in 0..policies.len() {
        let order = (first..first + policies.len()).map(|place| policies[place % policies.len()]);
        let pipeline = order.fold(Pipeline::named("orders"), |pipeline, add| add(pipeline));
        let pipeline = pipeline.build().expect("valid");
        let outcome = pipeline.call(async |_| pending::<Result<(), ()>>().await).idempotent().await;
        let Err(CallError::Exhausted(exhausted)) = outcome else { panic!("{outcome:?}") };
        seen.push((exhausted.attempts, pipeline.stats(), pipeline.explain().to_string()));
    }
    assert_eq!(seen[0].0, 3, "each attempt has its own limit, and the breaker sees each");
    assert!(seen.iter().all(|other| *other == seen[0]), "{seen:#?}");
}

/// Defect 17: the short deadline of one caller opens the breaker for all (Instawork/llm-proxy #52: 370 calls of
/// others failed in six minutes).
#[tokio::test(start_paused = true)]
async fn the_short_deadline_of_one_caller_opens_nothing_for_the_others() {
    let pipeline = Pipeline::named("model")
        .circuit_breaker(CircuitBreakerConfig::sensitive())
        .attempt_timeout(10 * SECOND)
        .build()
        .expect("valid");
    let slow = async |_| {
        tokio::time::sleep(2 * SECOND).await;
        Ok::<_, ()>("answer")
    };
    for _ in 0..100 {
        let impatient = pipeline.call(slow).remaining(SECOND / 10).await;
        assert!(matches!(impatient, Err(CallError::DeadlineExceeded)), "{impatient:?}");
    }
    assert_eq!(phase(&pipeline), Phase::Closed);
    pipeline.call(slow).await.expect("who has time gets an answer");
}

/// Defect 17, the other way round: who has the whole attempt and gets nothing says something.
#[tokio::test(start_paused = true)]
async fn a_dependency_that_hangs_opens_the_breaker() {
    let pipeline = Pipeline::named("model")
        .circuit_breaker(CircuitBreakerConfig::sensitive())
        .attempt_timeout(SECOND)
        .build()
        .expect("valid");
    for _ in 0..5 {
        let outcome = pipeline.call(async |_| pending::<Result<(), ()>>().await).await;
        assert!(matches!(outcome, Err(CallError::AttemptTimeout)), "{outcome:?}");
    }
    assert_eq!(phase(&pipeline), Phase::Open);
}

/// Defect 17 again: what a policy refused here says nothing about the dependency.
#[tokio::test(start_paused = true)]
async fn rejections_of_our_own_open_nothing() {
    let pipeline = Pipeline::named("orders")
        .circuit_breaker(CircuitBreakerConfig::sensitive())
        .bulkhead(BulkheadConfig::new(number(1)))
        .build()
        .expect("valid");
    let bulkhead = pipeline.bulkhead().expect("it has one");
    let place = bulkhead.try_acquire().expect("free");
    for _ in 0..100 {
        let outcome = pipeline.call(async |_| Ok::<_, ()>(())).await;
        let Err(CallError::Rejected(rejection)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(rejection.by, Policy::Bulkhead);
    }
    drop(place);
    assert_eq!(phase(&pipeline), Phase::Closed);
    let throttled = pipeline.call(async |_| Err::<(), _>("429")).classify(|_| Class::Throttled);
    throttled.await.expect_err("throttled");
}
