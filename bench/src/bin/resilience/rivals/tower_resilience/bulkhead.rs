use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::timeout;
use tower::{Layer as _, Service, ServiceExt as _, service_fn};
use tower_resilience_bulkhead::{BulkheadLayer, BulkheadServiceError};

use super::share;
use crate::subject::{Failure, Object, Outcome, Row, Subject, block_on, passes};

pub fn subjects() -> Vec<Subject> {
    let row = Row::Bulkhead;
    let rejects = Object::Shared(|row| share(row, rejecting(100).layer(service_fn(passes)), outcome));
    let waits = Object::Shared(|row| share(row, waiting(100).layer(service_fn(passes)), outcome));
    vec![
        Subject { row, name: "tower-resilience", object: rejects, check: || check(&rejecting(1)) },
        Subject { row, name: "tower-resilience, waits", object: waits, check: || check(&waiting(1)) },
    ]
}

pub fn rejecting(places: usize) -> BulkheadLayer {
    let builder = BulkheadLayer::builder().max_concurrent_calls(places).reject_when_full();
    builder.build().expect("the settings work together")
}

/// Its default, and cheaper: rejecting sets a timer.
pub fn waiting(places: usize) -> BulkheadLayer {
    BulkheadLayer::builder().max_concurrent_calls(places).build().expect("the settings work together")
}

fn outcome(result: &Result<u64, BulkheadServiceError<Failure>>) -> Outcome {
    match result {
        Ok(_) => Outcome::Passed,
        Err(BulkheadServiceError::Inner(_)) => Outcome::Failed,
        Err(BulkheadServiceError::Bulkhead(_)) => Outcome::Refused,
    }
}

fn check(layer: &BulkheadLayer) -> Result<()> {
    let short = Duration::from_millis(5);
    block_on(async {
        let never = service_fn(|_: u64| std::future::pending::<Result<u64, Failure>>());
        let mut service = layer.layer(never);
        let mut first = service.ready().await.map_err(|error| anyhow::anyhow!("{error:?}"))?.call(0);
        ensure!(timeout(short, &mut first).await.is_err(), "the first call ended");
        let second = timeout(short, service.clone().oneshot(0)).await;
        let kept_out = second.map_or(true, |ended| outcome(&ended) == Outcome::Refused);
        ensure!(kept_out, "tower-resilience's bulkhead let two in");
        Ok(())
    })
}
