//! What the policies as a whole must do. When one of these fails, a policy is wrong, not the simulator.

use super::*;
use crate::simulate::{Report, Simulation};

/// 50 servers of 50 ms serve 1,000/s and are asked for 700/s; for ten seconds nine of ten are gone. A full
/// queue takes 2 s to serve, and nobody waits longer than 1 s.
fn blip(policies: PipelineConfig) -> Report {
    let mut config = config("700/s", millis(50), 50);
    config.queue = 2_000;
    config.faults.push(fault(10, 10, Effect::Capacity(number(5))));
    Simulation::new(config).tier("blip", policies).duration(secs(60)).run().expect("it runs")
}

#[test]
fn a_capacity_blip_clears() {
    let report = blip(standard());
    println!("the standard policies:\n{report}");
    let recovered = report.faults[0].recovered_after.expect("a blip clears");
    // The breaker opened within the first second of the fault and looks again 30 s later.
    assert!(recovered < secs(22), "{report}");
    assert!(report.amplification.worst_five_seconds <= 1.2, "{report}");
}

#[test]
fn without_the_policies_a_blip_stays_for_good() {
    let report = blip(naive());
    println!("three attempts, whatever they cost:\n{report}");
    assert!(!report.has_recovered(), "it is metastable: {report}");
    assert!(report.amplification.overall > 2.0, "{report}");
    // It is the repetition that keeps it down, not the dependency: without it the same blip clears.
    let single = blip(PipelineConfig { retry: None, ..naive() });
    assert!(single.faults[0].recovered_after.is_some_and(|after| after < secs(10)), "{single}");
}

/// Three tiers that each make up to three attempts within a budget of 20%, and a dependency that fails.
fn three_tiers(marks: bool) -> f64 {
    let mut config = config("500/s", millis(10), 1_000);
    config.error_rate = Ratio::ONE;
    let retry = RetryConfig { budget_minimum: 0, ..RetryConfig::quick() };
    let policies = PipelineConfig { retry: Some(retry), ..PipelineConfig::default() };
    let mut simulation = Simulation::new(config);
    for name in ["edge", "orders", "inventory"] {
        simulation = simulation.tier(name, policies.clone());
    }
    if !marks {
        simulation = simulation.without_marks();
    }
    simulation.run().expect("it runs").amplification.overall
}

#[test]
fn three_tiers_of_three_attempts_add_a_fifth_and_not_three_quarters() {
    let (marked, unmarked) = (three_tiers(true), three_tiers(false));
    println!("three tiers × three attempts: {marked:.3} × with marks, {unmarked:.3} × without");
    assert!(marked <= 1.2, "{marked}");
    assert!(marked > 1.19, "the innermost tier does repeat: {marked}");
    // Without marks the budgets multiply: 1.2 × 1.2 × 1.2.
    assert!((1.70..=1.728).contains(&unmarked), "{unmarked}");
}
