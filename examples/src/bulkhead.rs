//! Two places and one seat in the queue: a critical call has the seat of a sheddable one, and one more is
//! turned away.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_core::criticality::Criticality;
use intertie_resilience::bulkhead::Caller;
use intertie_resilience::{Bulkhead, BulkheadConfig};

pub(crate) async fn example() -> Result<()> {
    let bulkhead = Bulkhead::new(BulkheadConfig {
        queue: 1,
        wait: Duration::from_millis(100),
        ..BulkheadConfig::new(NonZeroU32::new(2).expect("2 is not zero"))
    })?;
    let call = |name: &'static str, criticality| {
        let bulkhead = bulkhead.clone();
        async move {
            match bulkhead.acquire(Caller { criticality, ..Caller::default() }).await {
                Ok(_permit) => {
                    println!("{name}: runs");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(rejection) => println!("{name}: {rejection}"),
            }
        }
    };
    tokio::join!(
        call("first", Criticality::Default),
        call("second", Criticality::Default),
        call("report", Criticality::Sheddable),
        call("checkout", Criticality::Critical),
        call("fifth", Criticality::Default),
    );
    let stats = bulkhead.stats();
    ensure!((stats.admitted, stats.turned_out, stats.rejected, stats.running) == (3, 1, 1, 0));
    Ok(())
}
