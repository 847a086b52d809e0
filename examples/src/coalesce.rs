//! Three callers of one key, of whom the first gives up: the others take its call over.

use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_resilience::{CoalesceConfig, Group};
use tokio::time::{sleep, timeout};

pub(crate) async fn example() -> Result<()> {
    let prices: Group<&str, u32, std::io::ErrorKind> = Group::new(CoalesceConfig::default())?;
    let price = || {
        prices.run("tin", || async {
            println!("asking the exchange");
            sleep(Duration::from_millis(50)).await;
            Ok(32_150)
        })
    };
    let (first, second, third) = tokio::join!(timeout(Duration::from_millis(10), price()), price(), price());
    println!("first: {}, second: {second:?}, third: {third:?}", if first.is_err() { "gave up" } else { "?" });
    ensure!((second, third) == (Ok(32_150), Ok(32_150)));
    let stats = prices.stats();
    ensure!((stats.flights, stats.followers, stats.taken_over) == (1, 2, 1));
    Ok(())
}
