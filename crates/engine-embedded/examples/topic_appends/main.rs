//! What appends to a topic cost through the port: some callers each append a record, wait until it is durable, and append
//! the next.
//!
//! `topic_appends DIRECTORY [CALLERS [RECORDS [BYTES [PARTITIONS]]]]`, by default 64 callers, 100,000 records of 256 bytes,
//! one partition. The example `appends` does the same to a bare table: what this one adds is what a topic costs.

use std::path::Path;
use std::sync::Arc;

use intertie_core::clock::WallClock;
use intertie_core::envelope::{Data, Envelope};
use intertie_core::telemetry::Events;
use intertie_engine_embedded::{Embedded, EmbeddedConfig};
use intertie_messaging::commit::Operation;
use intertie_messaging::log::{LogEngine, TopicSpec};
use intertie_messaging::{Engine, Name};
use tokio::task::JoinSet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("a directory is needed")?;
    let mut number = |standard| arguments.next().map_or(Ok(standard), |number| number.parse::<u32>());
    let (callers, records, bytes, partitions) =
        (number(64)?, number(100_000)?, number(256)?, number(1)?.try_into()?);

    let config = EmbeddedConfig::default();
    let events = Events::default();
    let engine = Arc::new(Embedded::open(Path::new(&directory), &config, WallClock::system(), events)?);
    let topic: Name = "facts".parse()?;
    engine.declare_topic(&topic, &TopicSpec { partitions, ..TopicSpec::default() }).await?;
    let data = Data::binary(vec![7; bytes as usize]);
    let event = Envelope::new("1", "/appends", "appended")?;
    let event = event.with_data(data, Some("application/octet-stream"))?;
    let begun = tokio::time::Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (engine, topic, event) = (Arc::clone(&engine), topic.clone(), event.clone());
        tasks.spawn(async move {
            for _ in 0..records / callers {
                let append = Operation::Append { topic: topic.clone(), record: event.clone().into() };
                engine.commit(append.into()).await.expect("is stored");
            }
        });
    }
    tasks.join_all().await;
    let rate = f64::from(records) / begun.elapsed().as_secs_f64();
    println!("{records} records from {callers} callers, {rate:.0}/s");
    Ok(())
}
