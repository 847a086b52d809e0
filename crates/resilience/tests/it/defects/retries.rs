use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use intertie_core::failure::Class;
use intertie_core::quantity::Ratio;
use intertie_resilience::pipeline::Verdict;
use intertie_resilience::retry::BudgetLimits;
use intertie_resilience::{Hedge, HedgeConfig, MonotonicClock, Pipeline, RetryBudget, RetryConfig};

use super::{SECOND, at, number};

/// Defect 10: without a budget retries multiply an outage (Polly #2348, backon #123, opendal #7376, tower #682).
#[tokio::test(start_paused = true)]
async fn an_outage_is_not_multiplied() {
    let retry = RetryConfig { base: Duration::from_millis(1), ..RetryConfig::quick() };
    let pipeline = Pipeline::named("orders").retry(retry).build().expect("valid");
    let made = AtomicU32::new(0);
    let operation = async |_| {
        made.fetch_add(1, Ordering::Relaxed);
        Err::<(), _>("down")
    };
    for _ in 0..1_000 {
        pipeline.call(operation).idempotent().await.expect_err("it is down");
    }
    assert!(made.load(Ordering::Relaxed) <= 1_210, "a fifth more, and ten: {made:?}");
    assert!(made.load(Ordering::Relaxed) >= 1_100, "the budget is used: {made:?}");
}

/// Defect 10, second half: a budget that looks only at what is in flight lets every call of a quiet service be
/// repeated (failsafe-go #106).
#[test]
fn calls_one_after_the_other_have_a_budget_too() {
    let limits = BudgetLimits { ratio: Ratio::from_percent(20), minimum: 0, in_flight: None };
    let budget = RetryBudget::new(limits);
    let repeated = (0..1_000).filter(|_| {
        budget.deposit(at(0));
        budget.withdraw(at(0)).is_some()
    });
    assert_eq!(repeated.count(), 200);
}

/// Defect 10, third half: a budget that is used up ends the healthy attempt (failsafe-go #141).
#[tokio::test(start_paused = true)]
async fn an_exhausted_budget_ends_no_attempt_under_way() {
    let config = HedgeConfig { budget: Ratio::ZERO, budget_minimum: 1, ..HedgeConfig::after(SECOND) };
    let hedge = Hedge::new(config).expect("valid");
    let slow = async |_| {
        tokio::time::sleep(2 * SECOND).await;
        Ok::<_, ()>("answer")
    };
    for _ in 0..3 {
        assert_eq!(hedge.run(slow).await, Ok("answer"));
    }
    assert_eq!((hedge.stats().hedged, hedge.stats().refused), (1, 2));
}

/// Defect 11: a hint is not heard (Polly #414 and #2047, dapr #5872, reqwest-middleware #146), or one in ten
/// repetitions comes up to 11 ms too early (dotnet/extensions #7001).
#[tokio::test(start_paused = true)]
async fn a_hint_is_never_fired_early() {
    // Jitter, which comes on top, would hide what is missing.
    let retry = RetryConfig {
        attempts: number(2),
        jitter: Ratio::ZERO,
        budget_minimum: 10_000,
        ..RetryConfig::quick()
    };
    let pipeline = Pipeline::named("mail").retry(retry).build().expect("valid");
    for millis in [1, 7, 99, 100, 101, 999, 1_500, 59_999] {
        let hint = Duration::from_millis(millis) + Duration::from_nanos(1);
        for _ in 0..20 {
            let answered = std::sync::Mutex::new(Vec::new());
            let operation = async |_| {
                answered.lock().expect("no panic").push(MonotonicClock::now());
                Err::<(), _>("throttled")
            };
            let verdict = Verdict { class: Class::Throttled, retry_after: Some(hint), exhausted: false };
            pipeline.call(operation).idempotent().classify(move |_| verdict).await.expect_err("throttled");
            let answered = answered.into_inner().expect("no panic");
            let [first, second] = answered[..] else { panic!("{answered:?}") };
            assert!(second.saturating_since(first) >= hint, "{hint:?}: {answered:?}");
        }
    }
}

/// Seed trap (a) of the same list: jitter under the cap lets clients that reached it repeat together.
#[test]
fn clients_that_reached_the_cap_still_spread() {
    let config = RetryConfig { attempts: number(20), ..RetryConfig::standard() };
    let waits = [config.wait(15), config.longest_wait(15)];
    assert_eq!(waits, [30 * SECOND, 39 * SECOND]);
}
