//! What is shared by the tests: loads, services, policies.

mod downstream;
mod faults;
mod gate;
mod latency;
mod report;
mod simulation;
mod state;

use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::quantity::Ratio;

use super::{Effect, FaultConfig, Latency, SimulationConfig};
use crate::{BulkheadConfig, CircuitBreakerConfig, PipelineConfig, RetryConfig};

fn number(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("not zero")
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn fault(at: u64, lasts: u64, effect: Effect) -> FaultConfig {
    FaultConfig { at: secs(at), lasts: secs(lasts), effect }
}

fn config(rate: &str, latency: Duration, capacity: u32) -> SimulationConfig {
    SimulationConfig::new(rate.parse().expect("a rate"), Latency::Constant(latency), number(capacity))
}

/// As the first page of the documents recommends it.
fn standard() -> PipelineConfig {
    PipelineConfig {
        deadline: Some(secs(30)),
        bulkhead: Some(BulkheadConfig { queue: 50, wait: millis(100), ..BulkheadConfig::new(number(200)) }),
        retry: Some(RetryConfig::quick()),
        circuit_breaker: Some(CircuitBreakerConfig::standard()),
        attempt_timeout: Some(secs(1)),
        ..PipelineConfig::default()
    }
}

/// As it is written on the first day: three attempts, whatever they cost.
fn naive() -> PipelineConfig {
    PipelineConfig {
        retry: Some(RetryConfig { budget: Ratio::ONE, budget_minimum: u32::MAX, ..RetryConfig::quick() }),
        attempt_timeout: Some(secs(1)),
        ..PipelineConfig::default()
    }
}
