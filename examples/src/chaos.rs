//! A third of all attempts is made to fail; three attempts hide nearly all of it.

use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_core::quantity::Ratio;
use intertie_resilience::{Chaos, ChaosConfig, Pipeline, RetryConfig};

pub(crate) async fn example() -> Result<()> {
    let chaos = Chaos::new(ChaosConfig {
        enabled: true,
        fault_rate: Ratio::from_percent(33),
        ..ChaosConfig::default()
    })?;
    // A budget that lets every failure be repeated: the experiment is about the attempts.
    let retry = RetryConfig { budget: Ratio::ONE, ..RetryConfig::quick() };
    let pipeline = Pipeline::named("payments").deadline(Duration::from_secs(5)).retry(retry).build()?;
    for _ in 0..1_000 {
        let charge = |_| chaos.run(async { Ok::<_, &str>(()) }, || Err("injected"));
        let _ = pipeline.call(charge).idempotent().await;
    }
    let (stats, injected) = (pipeline.stats(), chaos.stats().faults);
    println!("{injected} faults injected, {} of 1000 calls failed", stats.failed);
    ensure!(injected > 300 && stats.failed < 100, "{stats:?}");
    Ok(())
}
