//! A report that must not take longer than its caller waits: it is told, hands out what it has, and a source
//! that is late itself is replaced by its last known value.

use std::time::Duration;

use anyhow::{Result, ensure};
use intertie_resilience::timeout::{Cx, Late, Timeout, TimeoutConfig};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) async fn example() -> Result<()> {
    let config = TimeoutConfig { late: Late::Cooperate, grace: ms(50), ..TimeoutConfig::new(ms(200)) };
    let report = Timeout::new(config.with_env("EXAMPLE_REPORT_TIMEOUT")?)?;
    let source = Timeout::new(TimeoutConfig::new(ms(80)))?;

    let lines = report
        .run(async |cx: Cx| {
            let mut lines = Vec::new();
            for takes in [ms(20), ms(500), ms(30), ms(100)] {
                let read = async |_| {
                    tokio::time::sleep(takes).await;
                    Ok::<_, std::io::Error>(format!("read in {takes:?}"))
                };
                let line = source.run(read).within(&cx).on_timeout(|late| Ok(format!("stale: {late}")));
                lines.push(line.await?);
                if cx.is_cancelled() {
                    lines.push("cut short".to_owned());
                    break;
                }
            }
            Ok::<_, std::io::Error>(lines)
        })
        .await?;
    for line in &lines {
        println!("{line}");
    }
    println!("{:?}", report.stats());
    ensure!(lines.len() == 5 && source.stats().timed_out == 2 && report.stats().finished_late == 1);
    Ok(())
}
