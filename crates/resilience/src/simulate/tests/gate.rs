//! What the policies as a whole must do. If one of these fails, a policy is wrong, not the simulator.

use super::*;
use crate::simulate::{Report, Simulation};

fn blip(policies: PipelineConfig) -> Report {
    // 50 servers of 50 ms serve 1,000/s; a full queue is 2 s long, longer than any caller waits.
    let mut config = config("700/s", millis(50), 50);
    config.queue = 2_000;
    config.faults.push(fault(10, 10, Effect::Capacity(number(5))));
    Simulation::new(config).tier("blip", policies).duration(secs(90)).run().expect("it runs")
}

#[test]
fn a_capacity_blip_clears() {
    for (name, policies) in [("standard", standard()), ("naive", naive())] {
        let report = blip(policies);
        println!("{name}\n{report}");
    }
}

fn tiers(marks: bool) -> Report {
    let mut config = config("500/s", millis(10), 1_000);
    config.error_rate = Ratio::ONE;
    let retry = RetryConfig { budget_minimum: 0, ..RetryConfig::quick() };
    let policies = PipelineConfig { retry: Some(retry), ..PipelineConfig::default() };
    let mut simulation = Simulation::new(config);
    if !marks {
        simulation = simulation.without_marks();
    }
    for name in ["edge", "orders", "inventory"] {
        simulation = simulation.tier(name, policies.clone());
    }
    simulation.run().expect("it runs")
}

#[test]
fn three_tiers_of_three_attempts() {
    for marks in [true, false] {
        println!("{marks}\n{}", tiers(marks));
    }
}
