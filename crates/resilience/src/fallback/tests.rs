use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use intertie_core::rejection::Policy;

use super::*;
use crate::CircuitBreakerConfig;
use crate::pipeline::{CallError, Pipeline};

const SECOND: Duration = Duration::from_secs(1);

fn pipeline() -> Pipeline {
    Pipeline::named("prices").attempt_timeout(SECOND).build().expect("valid")
}

async fn price(good: bool) -> Result<u32, &'static str> {
    if good { Ok(7) } else { Err("down") }
}

#[tokio::test(start_paused = true)]
async fn a_value_takes_the_place_of_a_failure_and_of_nothing_else() {
    let pipeline = pipeline();
    assert_eq!(pipeline.call(|_| price(true)).or_value(1).await.expect("a price"), 7);
    assert_eq!(pipeline.call(|_| price(false)).or_value(1).await.expect("a price"), 1);
    let hanging = pipeline.call(|_| std::future::pending::<Result<u32, &str>>());
    assert_eq!(hanging.or_value(2).await.expect("a price"), 2);
    let stats = pipeline.stats();
    assert_eq!((stats.succeeded, stats.failed, stats.fell_back), (1, 2, 2), "nothing is hidden");
}

#[tokio::test(start_paused = true)]
async fn another_operation_gets_the_error_and_may_fail_in_its_own_way() {
    let pipeline = Pipeline::named("prices")
        .circuit_breaker(CircuitBreakerConfig {
            mode: crate::circuit_breaker::Mode::ForcedOpen,
            ..CircuitBreakerConfig::standard()
        })
        .build()
        .expect("valid");
    let calls = AtomicU32::new(0);
    let backup = async |error: CallError<&'static str>| {
        calls.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(SECOND).await;
        match error {
            CallError::Rejected(rejection) if rejection.by == Policy::CircuitBreaker => Ok(9),
            other => Err(other),
        }
    };
    assert_eq!(pipeline.call(|_| price(true)).or_else(backup).await.expect("a price"), 9);
    let told = pipeline.call(|_| price(true)).or_else(async |_| Err(CallError::Operation("sold out"))).await;
    assert!(matches!(told, Err(CallError::Operation("sold out"))));
    assert_eq!((calls.load(Ordering::Relaxed), pipeline.stats().fell_back), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn the_last_good_value_serves_until_it_is_too_old() {
    let pipeline = pipeline();
    let last = LastGood::new(10 * SECOND);
    assert!(pipeline.call(|_| price(false)).or_last_good(&last).await.is_err(), "nothing was good yet");
    assert_eq!(pipeline.call(|_| price(true)).or_last_good(&last).await.expect("a price"), 7);
    tokio::time::advance(10 * SECOND).await;
    assert_eq!(pipeline.call(|_| price(false)).or_last_good(&last).await.expect("remembered"), 7);
    tokio::time::advance(SECOND).await;
    assert!(pipeline.call(|_| price(false)).or_last_good(&last).await.is_err(), "too old");
    assert_eq!(pipeline.stats().fell_back, 1);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_classed_as_a_failure_is_handed_out_and_not_remembered() {
    let pipeline = pipeline();
    let last = LastGood::new(10 * SECOND);
    let sold_out = async |_| Ok::<u32, &str>(0);
    let class = |price: &Result<u32, &str>| match price {
        Ok(0) => Class::Unavailable,
        _ => Class::Success,
    };
    assert_eq!(pipeline.call(sold_out).classify(class).or_last_good(&last).await.expect("a value"), 0);
    assert!(pipeline.call(|_| price(false)).or_last_good(&last).await.is_err());
    assert_eq!(pipeline.call(sold_out).classify(class).or_value(5).await.expect("a value"), 0);
}

#[test]
fn a_value_is_recalled_with_its_age() {
    let last = LastGood::new(SECOND);
    let at = |millis| Instant::ORIGIN + Duration::from_millis(millis);
    last.remember(at(0), &"old");
    last.remember(at(100), &"new");
    assert_eq!(last.recall(at(400)), Some(("new", Duration::from_millis(300))));
    assert_eq!(last.recall(at(1_100)), Some(("new", SECOND)));
    assert_eq!(last.recall(at(1_101)), None);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_substitute_ends() {
    let pipeline = pipeline();
    let call = pipeline.call(|_| price(false)).or_else(|_| std::future::pending());
    assert!(tokio::time::timeout(SECOND, call).await.is_err());
    assert_eq!((pipeline.stats().failed, pipeline.stats().cancelled), (1, 0), "the call itself had ended");
}
