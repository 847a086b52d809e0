//! Two places, one seat in the queue, three callers and a fourth who is turned away.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_resilience::{Bulkhead, BulkheadConfig};

pub(crate) async fn example() -> Result<()> {
    let bulkhead = Bulkhead::new(BulkheadConfig {
        concurrent: NonZeroU32::new(2).expect("2 is not zero"),
        queue: 1,
        wait: Duration::from_millis(100),
    })?;
    let call = |name: &'static str| {
        let bulkhead = bulkhead.clone();
        async move {
            match bulkhead.acquire(None).await {
                Ok(_permit) => {
                    println!("{name}: runs");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(rejection) => println!("{name}: {rejection}"),
            }
        }
    };
    tokio::join!(call("first"), call("second"), call("third"), call("fourth"));
    let stats = bulkhead.stats();
    ensure!((stats.admitted, stats.rejected, stats.running) == (3, 1, 0));
    Ok(())
}
