//! A payment that fails once and is paid once: five policies around one call.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_resilience::{BulkheadConfig, CircuitBreakerConfig, Pipeline, RetryConfig};

pub(crate) async fn example() -> Result<()> {
    let payments = Pipeline::named("payments")
        .deadline(Duration::from_secs(30))
        .bulkhead(BulkheadConfig::new(NonZeroU32::new(20).expect("not zero")))
        .retry(RetryConfig::standard())
        .circuit_breaker(CircuitBreakerConfig::standard())
        .attempt_timeout(Duration::from_secs(5))
        .build()?;
    print!("{}", payments.explain());
    let receipt = payments
        .call(async |attempt| match attempt.attempt() {
            1 => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
            _ => Ok(format!("paid {}", attempt.idempotency_key().unwrap_or_default())),
        })
        .idempotency_key("order-7")
        .await?;
    println!("{receipt}; {:?}", payments.stats());
    ensure!(receipt == "paid order-7" && payments.stats().retries == 1);
    Ok(())
}
