use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::telemetry::Value;

use super::*;
use crate::circuit_breaker::Mode;
use crate::{BulkheadConfig, CircuitBreakerConfig, RateLimiterConfig, RetryConfig};

const SECOND: Duration = Duration::from_secs(1);

fn touchy() -> CircuitBreakerConfig {
    CircuitBreakerConfig {
        failures: None,
        consecutive_failures: Some(NonZeroU32::MIN),
        ..CircuitBreakerConfig::standard()
    }
}

fn only(deadline: Duration) -> PipelineConfig {
    PipelineConfig { deadline: Some(deadline), ..PipelineConfig::default() }
}

fn registry() -> Registry {
    let defaults = PipelineConfig {
        deadline: Some(30 * SECOND),
        circuit_breaker: Some(touchy()),
        ..PipelineConfig::default()
    };
    Registry::new(defaults).expect("valid")
}

async fn fail(pipeline: &Pipeline) {
    let _ = pipeline.call(async |_| Err::<(), _>("down")).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_by_name_gets_the_same_state() {
    let registry = registry();
    let added = registry.add("a", PipelineConfig::default()).expect("added");
    registry.add("b", PipelineConfig::default()).expect("added");
    fail(&added).await;
    let again = registry.add("a", PipelineConfig::default()).expect("the same");
    assert_eq!(again.stats().failed, 1);
    assert_eq!(registry.get("b").expect("added").stats().failed, 0, "each has a breaker of its own");
    assert!(registry.get("c").is_none());
    assert_eq!(registry.names(), ["a", "b"]);
}

#[test]
fn a_name_does_not_stand_for_two_things() {
    let registry = registry();
    registry.add("a", only(SECOND)).expect("added");
    let taken = registry.add("a", only(2 * SECOND)).expect_err("refused");
    assert_eq!(taken.to_string(), "there is a pipeline `a` with other settings");
    let unknown = registry.configure("b", only(SECOND)).expect_err("refused");
    assert_eq!(unknown, RegistryError::Unknown { name: "b".to_owned() });
}

#[test]
fn what_can_not_work_with_the_defaults_is_refused_and_changes_nothing() {
    let registry = registry();
    let late = PipelineConfig { attempt_timeout: Some(30 * SECOND), ..PipelineConfig::default() };
    assert!(matches!(registry.add("a", late.clone()), Err(RegistryError::Invalid(_))));
    registry.add("a", only(5 * SECOND)).expect("added");
    assert!(matches!(
        registry.configure("a", PipelineConfig { deadline: None, ..late }),
        Err(RegistryError::Invalid(_))
    ));
    assert_eq!(registry.get("a").expect("there").config().deadline, Some(5 * SECOND));
    let early = PipelineConfig { attempt_timeout: Some(6 * SECOND), ..PipelineConfig::default() };
    assert!(registry.configure_defaults(early).is_err(), "6 s is no attempt of a call of 5 s");
    assert!(registry.get("a").expect("there").circuit_breaker().is_some(), "the old defaults stay");
    assert!(Registry::new(only(Duration::ZERO)).is_err());
}

#[tokio::test(start_paused = true)]
async fn state_survives_a_change_of_other_settings() {
    let registry = registry();
    let limiter = RateLimiterConfig::new("1/h".parse().expect("a rate"));
    let bulkhead = BulkheadConfig::new(NonZeroU32::MIN);
    let first = PipelineConfig {
        rate_limiter: Some(limiter),
        bulkhead: Some(bulkhead),
        retry: Some(RetryConfig::quick()),
        ..PipelineConfig::default()
    };
    let before = registry.add("a", first.clone()).expect("added");
    fail(&before).await;
    let after = registry.configure("a", PipelineConfig { deadline: Some(SECOND), ..first.clone() });
    let after = after.expect("valid");
    assert_eq!(after.stats().failed, 1, "the numbers go on");
    let breakers = before.circuit_breaker().zip(after.circuit_breaker());
    assert!(breakers.is_some_and(|(before, after)| before.is_same(after)));
    after.circuit_breaker().expect("in force").reset();
    assert!(after.call(async |_| Ok::<_, ()>(())).await.is_err(), "the permit of this hour is spent");

    let other = CircuitBreakerConfig { open: SECOND, ..touchy() };
    let changed = registry.configure("a", PipelineConfig { circuit_breaker: Some(other), ..first });
    let changed = changed.expect("valid");
    let breakers = after.circuit_breaker().zip(changed.circuit_breaker());
    assert!(breakers.is_some_and(|(before, after)| !before.is_same(after)), "its own settings changed");
}

#[tokio::test(start_paused = true)]
async fn defaults_reach_pipelines_that_were_added_before() {
    let registry = registry();
    registry.add("a", PipelineConfig::default()).expect("added");
    registry.add("b", only(5 * SECOND)).expect("added");
    registry.configure_defaults(only(10 * SECOND)).expect("valid");
    let deadline = |name| registry.get(name).expect("there").config().deadline;
    assert_eq!((deadline("a"), deadline("b")), (Some(10 * SECOND), Some(5 * SECOND)));
    assert!(registry.get("a").expect("there").circuit_breaker().is_none());
}

#[tokio::test(start_paused = true)]
async fn health_follows_the_breaker() {
    let registry = registry();
    let pipeline = registry.add("a", PipelineConfig::default()).expect("added");
    let health = || registry.health()["a"];
    assert_eq!(health(), Health { state: State::Healthy, retry_after: None });
    fail(&pipeline).await;
    assert_eq!(health(), Health { state: State::Unhealthy, retry_after: Some(30 * SECOND) });
    tokio::time::advance(30 * SECOND).await;
    assert_eq!(health().state, State::Degraded, "it would let a probe through");
    pipeline.call(async |_| Ok::<_, ()>(())).await.expect("a probe");
    assert_eq!(health().state, State::Degraded);
    pipeline.circuit_breaker().expect("in force").set_mode(Mode::ForcedOpen);
    assert_eq!(health(), Health { state: State::Unhealthy, retry_after: None });
}

#[tokio::test(start_paused = true)]
async fn it_shows_the_numbers_of_each_pipeline() {
    let registry = registry();
    let pipeline = registry.add("a", PipelineConfig::default()).expect("added");
    fail(&pipeline).await;
    fail(&pipeline).await;
    let mut snapshot = Snapshot::default();
    Source::read(&registry, &mut snapshot);
    let calls =
        &snapshot.families().iter().find(|family| family.name == "pipeline_calls").expect("shown").samples;
    let of = |outcome: &str| {
        let found = calls.iter().find(|sample| sample.labels[1].1 == outcome);
        found.map(|sample| sample.value.clone())
    };
    assert_eq!((of("failed"), of("rejected")), (Some(Value::Counter(1)), Some(Value::Counter(1))));
}
