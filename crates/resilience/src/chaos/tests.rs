use std::cell::Cell;
use std::time::Duration;

use intertie_core::quantity::Ratio;

use super::*;
use crate::pipeline::Pipeline;
use crate::{CircuitBreakerConfig, RetryConfig};

const SECOND: Duration = Duration::from_secs(1);

fn chaos(fault: u32, latency: u32) -> Chaos {
    let config = ChaosConfig {
        enabled: true,
        fault_rate: Ratio::from_percent(fault),
        latency_rate: Ratio::from_percent(latency),
        latency: if latency == 0 { Duration::ZERO } else { SECOND },
        seed: 7,
    };
    Chaos::new(config).expect("valid")
}

/// For each of a thousand calls whether it failed and how long it took.
async fn thousand(chaos: &Chaos) -> Vec<(bool, Duration)> {
    let mut calls = Vec::new();
    for _ in 0..1_000 {
        let began = tokio::time::Instant::now();
        let failed = chaos.run(async { false }, || true).await;
        calls.push((failed, began.elapsed()));
    }
    calls
}

#[tokio::test(start_paused = true)]
async fn the_shares_are_those_of_the_settings_and_the_same_for_a_seed() {
    let calls = thousand(&chaos(30, 10)).await;
    let share = |count: usize| count as f64 / 1_000.0;
    let failed = share(calls.iter().filter(|(failed, _)| *failed).count());
    let late = share(calls.iter().filter(|(_, took)| *took >= SECOND).count());
    assert!((failed - 0.3).abs() < 0.05 && (late - 0.1).abs() < 0.03, "{failed} {late}");
    assert_eq!(calls, thousand(&chaos(30, 10)).await);
    let only_late: Vec<_> = thousand(&chaos(0, 10)).await.into_iter().map(|(_, took)| took).collect();
    assert_eq!(only_late, calls.iter().map(|(_, took)| *took).collect::<Vec<_>>(), "the same calls are late");
}

#[tokio::test(start_paused = true)]
async fn what_fails_does_not_reach_the_operation_and_all_is_counted() {
    let chaos = chaos(100, 100);
    let reached = Cell::new(false);
    assert_eq!(chaos.run(async { reached.set(true) }, || ()).await, ());
    assert!(!reached.get());
    assert_eq!(chaos.stats(), Stats { faults: 1, delays: 1 });
}

#[tokio::test(start_paused = true)]
async fn nothing_happens_unless_it_is_switched_on() {
    let off = Chaos::new(ChaosConfig { fault_rate: Ratio::ONE, ..ChaosConfig::default() }).expect("valid");
    assert!(thousand(&off).await.iter().all(|call| *call == (false, Duration::ZERO)));
    off.set_enabled(true);
    assert!(thousand(&off).await.iter().all(|(failed, _)| *failed));
    assert_eq!(off.stats().faults, 1_000);
}

#[tokio::test(start_paused = true)]
async fn policies_see_it_as_the_dependencys_doing() {
    let pipeline = Pipeline::named("tested")
        .retry(RetryConfig::quick())
        .circuit_breaker(CircuitBreakerConfig::sensitive())
        .build()
        .expect("valid");
    let chaos = chaos(100, 0);
    let charge = |_| chaos.run(async { Ok::<_, &str>("paid") }, || Err("injected"));
    for _ in 0..2 {
        let _ = pipeline.call(charge).idempotent().await;
    }
    assert_eq!(chaos.stats().faults, 5, "the fifth opened the breaker");
}

#[test]
fn settings_that_inject_nothing_are_refused_by_name() {
    let refused = |json: &str| {
        let config: ChaosConfig = serde_json::from_str(json).expect("a table");
        Chaos::new(config).map(|_| ()).map_err(|invalid| invalid.field)
    };
    assert_eq!(refused(r#"{ "enabled": true }"#), Err("enabled"));
    assert_eq!(refused(r#"{ "latency_rate": "5%" }"#), Err("latency"));
    assert_eq!(refused(r#"{ "latency": "5s" }"#), Err("latency_rate"));
    assert_eq!(refused(r#"{ "enabled": true, "latency": "5s", "latency_rate": "1%" }"#), Ok(()));
    assert!(serde_json::from_str::<ChaosConfig>(r#"{ "fault": "5%" }"#).is_err());
}
