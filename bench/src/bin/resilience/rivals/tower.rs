//! tower's own layers: alone, and four of them stacked. It has no circuit breaker.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tower::retry::Policy;
use tower::timeout::error::Elapsed;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _, service_fn};

use crate::subject::{
    Failure, Object, Outcome, Row, Share, Subject, Work, always_fails, block_on, passes, work,
};

pub fn subjects() -> Vec<Subject> {
    let of = |row, name, object, check| Subject { row, name, object, check };
    vec![
        of(Row::Retry, "tower", Object::Single(retry), check_retry),
        of(Row::Timeout, "tower", Object::Single(timeout), check_timeout),
        of(Row::Limiter, "tower, fixed window, waits", Object::Single(rate_limit), check_rate_limit),
        of(Row::Bulkhead, "tower, waits", Object::Shared(concurrency_limit), check_concurrency_limit),
        of(Row::Pipeline, "tower, without a breaker", Object::Single(stack), check_stack),
    ]
}

const LONG: Duration = Duration::from_secs(30);
const UNREACHED: u64 = 1_000_000_000;

/// Three attempts without a wait, which tower leaves to whoever writes the policy.
#[derive(Debug, Clone)]
struct Attempts(u32);

impl<T> Policy<u64, T, Failure> for Attempts {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut u64, result: &mut Result<T, Failure>) -> Option<Self::Future> {
        if result.is_ok() || self.0 == 1 {
            return None;
        }
        self.0 -= 1;
        Some(ready(()))
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

/// A call as tower's documentation makes it: first ready, then called.
pub async fn call<S: Service<u64>>(service: &mut S, number: u64) -> Result<S::Response, S::Error> {
    service.ready().await?.call(number).await
}

fn outcome<E: Into<BoxError>>(result: Result<u64, E>) -> Outcome {
    match result {
        Ok(_) => Outcome::Passed,
        Err(error) => {
            if error.into().is::<Elapsed>() {
                Outcome::Refused
            } else {
                Outcome::Failed
            }
        }
    }
}

fn calls<S>(row: Row, mut service: S) -> Work
where
    S: Service<u64, Response = u64, Error: Into<BoxError>> + Send + 'static,
{
    work(row, async move |number| outcome(call(&mut service, number).await))
}

fn retry(row: Row) -> Work {
    calls(row, ServiceBuilder::new().retry(Attempts(3)).service(service_fn(passes)))
}

fn timeout(row: Row) -> Work {
    calls(row, ServiceBuilder::new().timeout(LONG).service(service_fn(passes)))
}

fn rate_limit(row: Row) -> Work {
    let layers = ServiceBuilder::new().rate_limit(UNREACHED, Duration::from_secs(1));
    // It is born with a timer, which it never needs at this rate.
    calls(row, block_on(async { layers.service(service_fn(passes)) }))
}

fn concurrency_limit(row: Row) -> Share {
    let shared = ServiceBuilder::new().concurrency_limit(100).service(service_fn(passes));
    Box::new(move || calls(row, shared.clone()))
}

fn stack(row: Row) -> Work {
    calls(row, block_on(async { stacked(LONG, UNREACHED, service_fn(passes)) }))
}

fn stacked<S>(
    limit: Duration,
    rate: u64,
    service: S,
) -> impl Service<u64, Response = u64, Error = BoxError> + Send
where
    S: Service<u64, Response = u64, Error = Failure, Future: Send> + Clone + Send,
{
    let layers = ServiceBuilder::new().timeout(limit).rate_limit(rate, Duration::from_secs(1));
    layers.concurrency_limit(100).retry(Attempts(3)).service(service)
}

fn check_retry() -> Result<()> {
    let counter = Arc::new(AtomicU32::new(0));
    let counted = service_fn(|number| {
        counter.fetch_add(1, Ordering::Relaxed);
        always_fails(number)
    });
    let mut service = ServiceBuilder::new().retry(Attempts(3)).service(counted);
    let ended = block_on(async { outcome(call(&mut service, 0).await) });
    let attempts = counter.load(Ordering::Relaxed);
    ensure!(ended == Outcome::Failed && attempts == 3, "{ended:?} after {attempts} attempts");
    Ok(())
}

const SHORT: Duration = Duration::from_millis(5);

fn check_timeout() -> Result<()> {
    let never = service_fn(|_: u64| std::future::pending::<Result<u64, Failure>>());
    let mut service = ServiceBuilder::new().timeout(SHORT).service(never);
    let ended = block_on(async { outcome(call(&mut service, 0).await) });
    ensure!(ended == Outcome::Refused, "tower's timeout did not give up");
    Ok(())
}

/// Whether a service that admits two calls makes the third wait.
async fn waits_after_two(service: &mut impl Service<u64, Response = u64>) -> bool {
    let mut ended = 0;
    while ended < 3 && ::tokio::time::timeout(SHORT, call(service, 0)).await.is_ok() {
        ended += 1;
    }
    ended == 2
}

fn check_rate_limit() -> Result<()> {
    let layers = ServiceBuilder::new().rate_limit(2, Duration::from_secs(3_600));
    let held = block_on(async { waits_after_two(&mut layers.service(service_fn(passes))).await });
    ensure!(held, "tower's rate limit did not hold");
    Ok(())
}

fn check_concurrency_limit() -> Result<()> {
    block_on(async {
        let mut first = ServiceBuilder::new().concurrency_limit(1).service(service_fn(passes));
        let mut second = first.clone();
        ensure!(first.ready().await.is_ok(), "the first call found no place");
        let waits = ::tokio::time::timeout(SHORT, second.ready()).await.is_err();
        ensure!(waits, "tower's concurrency limit let two in");
        Ok(())
    })
}

fn check_stack() -> Result<()> {
    block_on(async {
        let never = service_fn(|_: u64| std::future::pending::<Result<u64, Failure>>());
        let ended = outcome(call(&mut stacked(SHORT, UNREACHED, never), 0).await);
        ensure!(ended == Outcome::Refused, "the stack's timeout did not give up");
        let mut limited = stacked(LONG, 2, service_fn(passes));
        ensure!(waits_after_two(&mut limited).await, "the stack's rate limit did not hold");
        Ok(())
    })
}
