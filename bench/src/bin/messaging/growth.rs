//! What a queue costs that nobody empties: how long a lease takes, opening again, and memory.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use intertie_bench::machine::Machine;
use intertie_bench::usage;
use intertie_bench::workdir::WorkDir;
use intertie_core::clock::WallClock;
use intertie_core::envelope::{Data, Envelope};
use intertie_core::quantity::ByteSize;
use intertie_core::telemetry::Events;
use intertie_engine_embedded::{Embedded, EmbeddedConfig};
use intertie_messaging::commit::{Commit, Operation};
use intertie_messaging::queue::{LeaseRequest, QueueEngine as _, QueueSpec, Settlement};
use intertie_messaging::{Engine as _, Name};

use crate::measure::body;

/// Messages in the queue, each measured after the other.
const DEPTHS: [u64; 3] = [1_000, 1_000_000, 10_000_000];

/// Leases at each, one after the other; what was taken is put back.
const LEASES: usize = 2_000;

const BATCH: u64 = 500;

struct Row {
    depth: u64,
    lease: [Duration; 2],
    reopened: Duration,
    first_lease: Duration,
    resident_mib: f64,
}

pub fn run() -> Result<String> {
    let (machine, dir) = (Machine::read()?, WorkDir::create()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rows = runtime.block_on(measure(&dir.path().join("data")))?;
    let mut report = format!(
        "## A queue that grows, {}\n\n{machine}. Messages of 256 bytes; {LEASES} leases of one message each, one after \
         the other.\n\n\
         | messages | lease p50 ms | p99 ms | opened in ms | first lease after it, ms | resident MiB then |\n\
         |--:|--:|--:|--:|--:|--:|\n",
        machine.date
    );
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    for Row { depth, lease: [p50, p99], reopened, first_lease, resident_mib } in rows {
        let _ = writeln!(
            report,
            "| {depth} | {:.2} | {:.2} | {:.0} | {:.2} | {resident_mib:.0} |",
            ms(p50),
            ms(p99),
            ms(reopened),
            ms(first_lease),
        );
    }
    Ok(report)
}

async fn measure(dir: &Path) -> Result<Vec<Row>> {
    let queue: Name = "orders".parse()?;
    let mut engine = open(dir)?;
    engine.declare_queue(&queue, &QueueSpec::default()).await?;
    let mut rows = Vec::new();
    for depth in DEPTHS {
        fill(&engine, &queue, depth).await?;
        let mut times = Vec::new();
        for _ in 0..LEASES {
            times.push(lease(&engine, &queue).await?);
        }
        times.sort_unstable();
        fill(&engine, &queue, depth).await?;
        // Closing may take as long as it likes: what it writes is written for the next opening.
        drop(engine);
        let began = Instant::now();
        engine = open(dir)?;
        let reopened = began.elapsed();
        let first_lease = lease(&engine, &queue).await?;
        let resident_mib = usage::present_mib(&[std::process::id()])?;
        eprintln!("{depth} messages: opened in {reopened:?}");
        rows.push(Row {
            depth,
            lease: [times[LEASES / 2], times[LEASES * 99 / 100]],
            reopened,
            first_lease,
            resident_mib,
        });
    }
    Ok(rows)
}

fn open(dir: &Path) -> Result<Arc<Embedded>> {
    let opened = Embedded::open(dir, &EmbeddedConfig::default(), WallClock::system(), Events::default());
    Ok(Arc::new(opened?))
}

async fn fill(engine: &Arc<Embedded>, queue: &Name, depth: u64) -> Result<()> {
    const FILLERS: u64 = 8;
    let missing = depth.saturating_sub(engine.depth(queue).await?.ready);
    let mut tasks = Vec::new();
    for filler in 0..FILLERS {
        let (engine, queue) = (Arc::clone(engine), queue.clone());
        let own = missing / FILLERS + u64::from(filler < missing % FILLERS);
        tasks.push(tokio::spawn(async move {
            let mut left = own;
            while left > 0 {
                let batch = left.min(BATCH);
                let send = |number| {
                    let id = format!("{depth}-{filler}-{number}");
                    let message =
                        Envelope::new(&id, "/bench", "measured")?.with_data(Data::binary(body()), None)?;
                    anyhow::Ok(Operation::Send { queue: queue.clone(), message: message.into() })
                };
                engine.commit((left - batch..left).map(send).collect::<Result<Commit>>()?).await?;
                left -= batch;
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// Takes a message; how long the lease took.
async fn lease(engine: &Embedded, queue: &Name) -> Result<Duration> {
    let request = LeaseRequest {
        queue: queue.clone(),
        consumer: "consumer".parse()?,
        most: NonZeroU32::MIN,
        bytes_max: ByteSize::from_bytes(1 << 20),
        visibility_timeout: None,
        wait: Duration::ZERO,
    };
    let began = Instant::now();
    let lease = engine.lease(&request).await?.pop().context("the queue is empty")?;
    let took = began.elapsed();
    let settle = Operation::Settle { queue: queue.clone(), lease: lease.id, settlement: Settlement::Ack };
    engine.commit(settle.into()).await?;
    Ok(took)
}
