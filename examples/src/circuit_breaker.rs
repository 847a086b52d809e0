//! A dependency fails, the breaker opens, and a caller learns when to come back.

use anyhow::{Result, ensure};
use intertie_core::failure::Class;
use intertie_resilience::{CircuitBreaker, CircuitBreakerConfig, MonotonicClock};

pub(crate) fn example() -> Result<()> {
    let breaker = CircuitBreaker::with_listener(CircuitBreakerConfig::sensitive(), |transition| {
        println!("{} -> {}: {}", transition.from.name(), transition.to.name(), transition.cause.name());
    })?;
    for status in [200, 503, 503, 404, 503, 503, 503] {
        let permit = breaker.try_admit(MonotonicClock::now())?;
        // A 404 is an answer: it counts as a success of the service. Each 503 counts as a failure.
        permit.record(MonotonicClock::now(), Class::of_http_status(status).evidence());
    }
    let rejection = breaker.try_admit(MonotonicClock::now()).expect_err("five failures in 10 s opened it");
    println!("{rejection}; come back in {:?}", rejection.retry_after);
    ensure!(breaker.stats(MonotonicClock::now()).opened == 1);
    Ok(())
}
