//! A service of tower that is cloned, repeated and kept to a quota, without a policy written by hand.

use std::future::{Ready, ready};
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use anyhow::{Result, ensure};
use intertie_resilience::tower::{PipelineLayer, Protocol};
use intertie_resilience::{CallError, Pipeline, RateLimiterConfig, RetryConfig};
use tower_layer::Layer as _;
use tower_service::Service;

/// Looks a price up; every third look-up fails.
#[derive(Clone, Default)]
struct Prices {
    calls: Arc<AtomicU32>,
}

impl Service<&'static str> for Prices {
    type Response = usize;
    type Error = Error;
    type Future = Ready<Result<usize, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, product: &'static str) -> Self::Future {
        let fails = self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(3);
        ready(if fails { Err(Error::from(ErrorKind::ConnectionReset)) } else { Ok(product.len()) })
    }
}

/// Asking for a price twice does no harm.
struct LookUp;

impl<E> Protocol<&'static str, usize, E> for LookUp {
    fn is_idempotent(&self, _: &&'static str) -> bool {
        true
    }

    fn try_clone(&self, product: &&'static str) -> Option<&'static str> {
        Some(product)
    }
}

pub(crate) async fn example() -> Result<()> {
    let pipeline = Pipeline::named("prices")
        .rate_limiter(RateLimiterConfig::new("5/min".parse()?))
        .retry(RetryConfig::quick())
        .build()?;
    let prices = PipelineLayer::new(pipeline.clone(), LookUp).layer(Prices::default());
    for product in ["tea", "bread", "salt", "milk", "rice"] {
        println!("{product} costs {}", prices.clone().call(product).await?);
    }
    let sixth = prices.clone().call("wine").await;
    println!("{sixth:?}; {:?}", pipeline.stats());
    ensure!(matches!(sixth, Err(CallError::Rejected(rejection)) if rejection.retry_after.is_some()));
    ensure!(pipeline.stats().retries == 3);
    Ok(())
}
