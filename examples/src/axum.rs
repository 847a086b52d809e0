//! A server of axum with a quota for each client, and as many requests at once as it can serve.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::routing::get;
use intertie_resilience::tower::PipelineLayer;
use intertie_resilience::{BulkheadConfig, Pipeline, RateLimiterConfig};
use reqwest::{Client, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub(crate) async fn example() -> Result<()> {
    let places =
        BulkheadConfig { queue: 1, wait: Duration::from_secs(20), ..BulkheadConfig::new(NonZeroU32::MIN) };
    let pipeline = Pipeline::named("reports")
        .deadline(Duration::from_secs(30))
        .rate_limiter(RateLimiterConfig::new("4/min".parse()?))
        .bulkhead(places)
        .build()?;
    // A report is ready when it is told so.
    let finish = Arc::new(Semaphore::new(0));
    let finished = Arc::clone(&finish);
    let report = || async move {
        finished.acquire().await.expect("never closed").forget();
        "all is well"
    };
    let router = Router::new()
        .route("/report", get(report))
        .layer(PipelineLayer::http_by(pipeline.clone(), client_address).answering());

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}/report", listener.local_addr()?);
    let mut servers = JoinSet::new();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    servers.spawn(axum::serve(listener, service).into_future());

    // One is served and one waits: the first of three to be answered is the one that had to go.
    let client = client_at(Ipv4Addr::new(127, 0, 0, 1))?;
    let mut requests = JoinSet::new();
    for _ in 0..3 {
        requests.spawn(client.get(&url).send());
    }
    let turned_away = requests.join_next().await.context("three were sent")???;
    println!("{}, {}", turned_away.status(), turned_away.headers()["retry-after"].to_str()?);
    ensure!(turned_away.status() == StatusCode::SERVICE_UNAVAILABLE);
    ensure!(turned_away.headers()["retry-after"] == "20");
    finish.add_permits(4);
    while let Some(served) = requests.join_next().await {
        ensure!(served??.status() == StatusCode::OK);
    }

    ensure!(client.get(&url).send().await?.status() == StatusCode::OK);
    let fifth = client.get(&url).send().await?;
    let wait: u64 = fifth.headers()["retry-after"].to_str()?.parse()?;
    println!("{}, {wait}; {:?}", fifth.status(), pipeline.stats());
    ensure!(fifth.status() == StatusCode::TOO_MANY_REQUESTS && (1..=60).contains(&wait));
    let neighbour = client_at(Ipv4Addr::new(127, 0, 0, 2))?;
    ensure!(neighbour.get(&url).send().await?.status() == StatusCode::OK);
    Ok(())
}

fn client_address(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())
}

fn client_at(address: Ipv4Addr) -> Result<Client> {
    Ok(Client::builder().local_address(IpAddr::V4(address)).build()?)
}
