//! One slow answer in twenty, and a second attempt that makes it fast.

use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_resilience::{Hedge, HedgeConfig};

pub(crate) async fn example() -> Result<()> {
    let hedge = Hedge::new(HedgeConfig::after(Duration::from_millis(50)))?;
    let mut slowest = Duration::ZERO;
    for call in 1..=100 {
        let start = tokio::time::Instant::now();
        hedge
            .run(async |attempt| {
                let is_slow = attempt == 1 && call % 20 == 0;
                tokio::time::sleep(Duration::from_millis(if is_slow { 2_000 } else { 10 })).await;
                Ok::<_, std::io::Error>(())
            })
            .await?;
        slowest = slowest.max(start.elapsed());
    }
    let stats = hedge.stats();
    println!("the slowest of {} calls took {slowest:?}; {stats:?}", stats.calls);
    ensure!(slowest < Duration::from_millis(500) && stats.won_by_hedge == 5);
    Ok(())
}
