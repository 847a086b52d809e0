//! Two pipelines with a common deadline; one of them fails, and health says which.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_resilience::registry::State;
use intertie_resilience::{CircuitBreakerConfig, PipelineConfig, Registry};

pub(crate) async fn example() -> Result<()> {
    let breaker = CircuitBreakerConfig {
        consecutive_failures: NonZeroU32::new(3),
        failures: None,
        ..CircuitBreakerConfig::standard()
    };
    let registry = Registry::new(PipelineConfig {
        deadline: Some(Duration::from_secs(30)),
        circuit_breaker: Some(breaker),
        ..PipelineConfig::default()
    })?;
    registry.add("search", PipelineConfig::default())?;
    let payments = registry.add("payments", PipelineConfig::default())?;
    for _ in 0..3 {
        let _ = payments.call(async |_| Err::<(), _>(std::io::ErrorKind::ConnectionReset)).await;
    }
    for (name, health) in registry.health() {
        println!("{name}: {} {:?}", health.state.name(), health.retry_after);
    }
    ensure!(registry.health()["payments"].state == State::Unhealthy);
    ensure!(registry.health()["search"].state == State::Healthy);
    Ok(())
}
