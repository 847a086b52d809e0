//! `cargo run -p intertie-examples -- circuit-breaker`: one example for each pattern.

mod batch;
mod bulkhead;
mod chaos;
mod circuit_breaker;
mod coalesce;
mod deadline;
mod fallback;
mod hedge;
mod pipeline;
mod pool;
mod rate_limiter;
mod registry;
mod retry;
mod simulate;
mod timeout;

use anyhow::{Result, bail};

const NAMES: &[&str] = &[
    "batch",
    "bulkhead",
    "chaos",
    "circuit-breaker",
    "coalesce",
    "deadline",
    "fallback",
    "hedge",
    "pipeline",
    "pool",
    "rate-limiter",
    "registry",
    "retry",
    "simulate",
    "timeout",
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let name = std::env::args().nth(1).unwrap_or_default();
    run(&name).await
}

async fn run(name: &str) -> Result<()> {
    match name {
        "batch" => batch::example().await,
        "bulkhead" => bulkhead::example().await,
        "chaos" => chaos::example().await,
        "circuit-breaker" => circuit_breaker::example(),
        "coalesce" => coalesce::example().await,
        "deadline" => deadline::example().await,
        "fallback" => fallback::example().await,
        "hedge" => hedge::example().await,
        "pipeline" => pipeline::example().await,
        "pool" => pool::example().await,
        "rate-limiter" => rate_limiter::example().await,
        "registry" => registry::example().await,
        "retry" => retry::example().await,
        "simulate" => simulate::example(),
        "timeout" => timeout::example().await,
        _ => bail!("name an example: {}", NAMES.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test(start_paused = true)]
    async fn every_example_runs() {
        for name in super::NAMES.iter().filter(|name| **name != "pool") {
            super::run(name).await.expect(name);
        }
    }

    /// A paused clock runs ahead of a server in another process.
    #[tokio::test]
    async fn the_example_with_a_server_runs_in_real_time() {
        super::run("pool").await.expect("pool");
    }
}
