use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tower::{Layer as _, service_fn};
use tower_resilience_retry::RetryLayer;

use super::{NAME, call, share};
use crate::subject::{Failure, Object, Outcome, Row, Share, Subject, always_fails, block_on, passes, plain};

pub fn subjects() -> Vec<Subject> {
    vec![Subject { row: Row::Retry, name: NAME, object: Object::Shared(calls), check }]
}

/// Three attempts, 1 ms and 2 ms between them, without a budget.
pub fn layer<E: Send + 'static>() -> RetryLayer<u64, u64, E> {
    RetryLayer::builder().max_attempts(3).exponential_backoff(Duration::from_millis(1)).build()
}

fn calls(row: Row) -> Share {
    share(row, layer::<Failure>().layer(service_fn(passes)), plain)
}

fn check() -> Result<()> {
    let counter = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&counter);
    let counted = service_fn(move |number| {
        seen.fetch_add(1, Ordering::Relaxed);
        always_fails(number)
    });
    let mut service = layer::<Failure>().layer(counted);
    let ended = block_on(async { plain(&call(&mut service, 0).await) });
    let attempts = counter.load(Ordering::Relaxed);
    ensure!(ended == Outcome::Failed && attempts == 3, "{ended:?} after {attempts} attempts");
    Ok(())
}
