//! A dependency loses nine tenths of its capacity for five seconds: with a budget and a breaker the blip
//! clears, with attempts that nothing bounds it stays for good.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use intertie_core::quantity::Ratio;
use intertie_resilience::simulate::{Effect, FaultConfig, Latency};
use intertie_resilience::{CircuitBreakerConfig, PipelineConfig, RetryConfig, Simulation, SimulationConfig};

pub(crate) fn example() -> Result<()> {
    let servers = |count| NonZeroU32::new(count).context("a service without servers");
    // 10 servers of 50 ms each serve 200 calls a second; 140 come.
    let latency = Latency::Constant(Duration::from_millis(50));
    let blip = FaultConfig {
        at: Duration::from_secs(5),
        lasts: Duration::from_secs(5),
        effect: Effect::Capacity(servers(1)?),
    };
    let mut config = SimulationConfig::new("140/s".parse()?, latency, servers(10)?);
    config.queue = 400;
    config.faults.push(blip);
    let simulation = Simulation::new(config);

    let bounded = PipelineConfig {
        retry: Some(RetryConfig::quick()),
        circuit_breaker: Some(CircuitBreakerConfig::standard()),
        attempt_timeout: Some(Duration::from_secs(1)),
        ..PipelineConfig::default()
    };
    let unbounded = RetryConfig { budget: Ratio::ONE, budget_minimum: u32::MAX, ..RetryConfig::quick() };
    let naive = PipelineConfig { retry: Some(unbounded), circuit_breaker: None, ..bounded.clone() };

    let report = simulation.clone().tier("bounded", bounded).run()?;
    println!("with a budget and a breaker:\n{report}");
    ensure!(report.has_recovered());
    let report = simulation.tier("naive", naive).run()?;
    println!("three attempts, whatever they cost:\n{report}");
    ensure!(!report.has_recovered());
    Ok(())
}
