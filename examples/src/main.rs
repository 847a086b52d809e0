//! `cargo run -p intertie-examples -- circuit-breaker`: one example for each pattern.

mod axum;
mod batch;
mod bulkhead;
mod chaos;
mod circuit_breaker;
mod coalesce;
mod consumer;
mod deadline;
mod event_bus;
mod fallback;
mod hedge;
mod pipeline;
mod pool;
mod rate_limiter;
mod registry;
mod request_reply;
mod reqwest;
mod retry;
mod simulate;
mod timeout;
mod tonic;
mod tower;

use anyhow::{Result, bail};

const NAMES: &[&str] = &[
    "axum",
    "batch",
    "bulkhead",
    "chaos",
    "circuit-breaker",
    "coalesce",
    "consumer",
    "deadline",
    "event-bus",
    "fallback",
    "hedge",
    "pipeline",
    "pool",
    "rate-limiter",
    "registry",
    "request-reply",
    "reqwest",
    "retry",
    "simulate",
    "timeout",
    "tonic",
    "tower",
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let name = std::env::args().nth(1).unwrap_or_default();
    run(&name).await
}

async fn run(name: &str) -> Result<()> {
    match name {
        "axum" => axum::example().await,
        "batch" => batch::example().await,
        "bulkhead" => bulkhead::example().await,
        "chaos" => chaos::example().await,
        "circuit-breaker" => circuit_breaker::example(),
        "coalesce" => coalesce::example().await,
        "consumer" => consumer::example().await,
        "deadline" => deadline::example().await,
        "event-bus" => event_bus::example().await,
        "fallback" => fallback::example().await,
        "hedge" => hedge::example().await,
        "pipeline" => pipeline::example().await,
        "pool" => pool::example().await,
        "rate-limiter" => rate_limiter::example().await,
        "registry" => registry::example().await,
        "request-reply" => request_reply::example().await,
        "reqwest" => reqwest::example().await,
        "retry" => retry::example().await,
        "simulate" => simulate::example(),
        "timeout" => timeout::example().await,
        "tonic" => tonic::example().await,
        "tower" => tower::example().await,
        _ => bail!("name an example: {}", NAMES.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    /// A paused clock runs ahead of what comes over a socket.
    const WITH_A_SERVER: &[&str] = &["axum", "pool", "reqwest", "tonic"];

    #[tokio::test(start_paused = true)]
    async fn every_example_runs() {
        for name in super::NAMES.iter().filter(|name| !WITH_A_SERVER.contains(*name)) {
            super::run(name).await.expect(name);
        }
    }

    #[tokio::test]
    async fn every_example_with_a_server_runs_in_real_time() {
        for name in WITH_A_SERVER {
            super::run(name).await.expect(name);
        }
    }
}
