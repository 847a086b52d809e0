use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tower::{Service, ServiceBuilder, service_fn};
use tower_resilience_bulkhead::BulkheadServiceError;
use tower_resilience_circuitbreaker::CircuitBreakerError;
use tower_resilience_ratelimiter::RateLimiterServiceError;
use tower_resilience_timelimiter::TimeLimiterError;

use super::rate_limiter::UNREACHED;
use super::{NAME, bulkhead, call, circuit_breaker, rate_limiter, retry, share, time_limiter};
use crate::subject::{Failure, Object, Outcome, Row, Share, Subject, always_fails, block_on, passes};

pub fn subjects() -> Vec<Subject> {
    vec![Subject { row: Row::Pipeline, name: NAME, object: Object::Shared(calls), check }]
}

type Error = TimeLimiterError<RateLimiterServiceError<BulkheadServiceError<CircuitBreakerError<Failure>>>>;

/// The five layers in the order of our pipeline, each in its cheapest form that does the job.
fn stacked<S>(
    limit: Duration,
    rate: usize,
    service: S,
) -> impl Service<u64, Response = u64, Error = Error> + Clone + Send + 'static
where
    S: Service<u64, Response = u64, Error = Failure, Future: Send> + Clone + Send + 'static,
{
    ServiceBuilder::new()
        .layer(time_limiter::layer(limit))
        .layer(rate_limiter::fixed(rate))
        .layer(bulkhead::waiting(100))
        .layer(retry::layer())
        .layer(circuit_breaker::layer(Row::Closed))
        .service(service)
}

const LONG: Duration = Duration::from_secs(30);

fn calls(row: Row) -> Share {
    share(row, stacked(LONG, UNREACHED, service_fn(passes)), outcome)
}

fn outcome(result: &Result<u64, Error>) -> Outcome {
    use {BulkheadServiceError as Bulkhead, RateLimiterServiceError as RateLimiter};
    match result {
        Ok(_) => Outcome::Passed,
        Err(TimeLimiterError::Inner(RateLimiter::Inner(Bulkhead::Inner(CircuitBreakerError::Inner(_))))) => {
            Outcome::Failed
        }
        Err(_) => Outcome::Refused,
    }
}

fn check() -> Result<()> {
    block_on(async {
        let mut limited = stacked(LONG, 10, service_fn(passes));
        for _ in 0..10 {
            ensure!(
                outcome(&call(&mut limited, 0).await) == Outcome::Passed,
                "the limiter refused too early"
            );
        }
        ensure!(outcome(&call(&mut limited, 0).await) == Outcome::Refused, "the limiter did not refuse");

        let never = service_fn(|_: u64| std::future::pending::<Result<u64, Failure>>());
        let mut hurried = stacked(Duration::from_millis(5), UNREACHED, never);
        ensure!(
            outcome(&call(&mut hurried, 0).await) == Outcome::Refused,
            "the time limiter did not give up"
        );

        let counter = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&counter);
        let counted = service_fn(move |number| {
            seen.fetch_add(1, Ordering::Relaxed);
            always_fails(number)
        });
        let mut failing = stacked(LONG, UNREACHED, counted);
        ensure!(outcome(&call(&mut failing, 0).await) == Outcome::Failed, "the failure was lost");
        let attempts = counter.load(Ordering::Relaxed);
        ensure!(attempts == 3, "{attempts} attempts");
        for _ in 0..40 {
            let _ = call(&mut failing, 0).await;
        }
        ensure!(outcome(&call(&mut failing, 0).await) == Outcome::Refused, "the breaker did not open");
        Ok(())
    })
}
