//! A price service that goes down: the last good price is served for ten minutes, and counted.

use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_resilience::Pipeline;
use intertie_resilience::fallback::LastGood;

pub(crate) async fn example() -> Result<()> {
    let prices = Pipeline::named("prices").attempt_timeout(Duration::from_secs(1)).build()?;
    let last = LastGood::new(Duration::from_secs(600));
    for up in [true, false] {
        let call = prices.call(async |_| {
            if up { Ok(42) } else { Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)) }
        });
        println!("service {}: {}", if up { "up" } else { "down" }, call.or_last_good(&last).await?);
    }
    tokio::time::sleep(Duration::from_secs(601)).await;
    let call =
        prices.call(async |_| Err::<i32, _>(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)));
    ensure!(call.or_last_good(&last).await.is_err(), "an old price is none");
    println!("{:?}", prices.stats());
    ensure!(prices.stats().fell_back == 1 && prices.stats().failed == 2);
    Ok(())
}
