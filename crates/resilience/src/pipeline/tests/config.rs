//! Pipelines from files, what can not work, and what they explain.

use super::*;

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
        "pipeline `wrong`, `attempt_timeout`: 2s can never be over before the deadline, 1s"
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

#[test]
fn it_explains_how_many_repetitions_there_may_be_at_the_same_time() {
    let retry = RetryConfig { budget_in_flight: NonZeroU32::new(7), ..retry() };
    let explained = Pipeline::named("bounded").retry(retry).build().expect("valid").explain();
    let text =
        "3 attempts of calls marked idempotent, within 20% of the calls, 7 repetitions at the same time";
    assert_eq!(explained.policies, [(Policy::Retry, text.to_owned())]);
}
