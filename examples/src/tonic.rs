//! A gRPC client under a circuit breaker and a deadline that its server is told, and one that repeats.

use std::error::Error as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use intertie_core::failure::Class;
use intertie_core::rejection::Policy;
use intertie_resilience::tower::PipelineLayer;
use intertie_resilience::{CallError, CircuitBreakerConfig, Pipeline, RetryConfig};
use tokio::task::JoinSet;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::health_reporter;
use tower_layer::Layer as _;

pub(crate) async fn example() -> Result<()> {
    // The server refuses as many requests as it is told to.
    let refusals = Arc::new(AtomicU32::new(0));
    let mut servers = JoinSet::new();
    let address = serve(&mut servers, Arc::clone(&refusals))?;
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let question = |service: &str| HealthCheckRequest { service: service.to_owned() };

    let breaker = CircuitBreakerConfig {
        consecutive_failures: Some(NonZeroU32::new(2).expect("not zero")),
        failures: None,
        ..CircuitBreakerConfig::standard()
    };
    let pipeline =
        Pipeline::named("health").deadline(Duration::from_secs(30)).circuit_breaker(breaker).build()?;
    let mut client = HealthClient::new(PipelineLayer::grpc(pipeline.clone()).layer(channel.clone()));
    client.check(question("")).await?;
    for _ in 0..3 {
        let status = client.check(question("nobody")).await.err().context("there is none of this name")?;
        ensure!(status.code() == Code::NotFound, "the server answered, so the breaker stays closed");
    }
    refusals.store(2, Ordering::Relaxed);
    for _ in 0..2 {
        let status = client.check(question("")).await.err().context("refused")?;
        ensure!(status.code() == Code::Unavailable);
    }
    let status = client.check(question("")).await.err().context("the breaker is open")?;
    let cause = status.source().and_then(|error| error.downcast_ref::<CallError<tonic::transport::Error>>());
    println!("{status}; {:?}", pipeline.stats());
    ensure!(matches!(cause, Some(CallError::Rejected(rejection)) if rejection.by == Policy::CircuitBreaker));

    // The body of a request under the channel is a stream, which can not be cloned. Its message can: what is
    // to be repeated is the call of the client.
    let retry = RetryConfig { base: Duration::from_millis(10), ..RetryConfig::quick() };
    let repeating = Pipeline::named("health").deadline(Duration::from_secs(30)).retry(retry).build()?;
    refusals.store(2, Ordering::Relaxed);
    let call = repeating.call(|_| {
        let (mut client, question) = (HealthClient::new(channel.clone()), question(""));
        async move { client.check(question).await }
    });
    let classify = |outcome: &Result<_, Status>| match outcome {
        Ok(_) => Class::Success,
        Err(status) => Class::of_grpc_status(status.code() as u32),
    };
    call.classify(classify).idempotent().await?;
    println!("{:?}", repeating.stats());
    ensure!(repeating.stats().retries == 2);
    Ok(())
}

fn serve(servers: &mut JoinSet<Result<()>>, refusals: Arc<AtomicU32>) -> Result<SocketAddr> {
    let incoming = TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let address = incoming.local_addr()?;
    let (_, health) = health_reporter();
    let refuse = move |request: Request<()>| {
        let left = refusals.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_ok() { Err(Status::unavailable("not now")) } else { Ok(request) }
    };
    let service = InterceptedService::new(health, refuse);
    servers.spawn(async move { Ok(Server::builder().serve_with_incoming(service, incoming).await?) });
    Ok(address)
}
