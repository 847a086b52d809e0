//! Loading a subject, and what came of it.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use intertie_bench::usage;
use tokio::task::{LocalSet, spawn_local};

use crate::mode::{BATCH, Mode};
use crate::subjects::{Site, Subject, Worker};

/// Each message; every one is different, and none can be compressed.
pub const MESSAGE_BYTES: usize = 256;

/// How long it takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Length {
    pub warm_up: Duration,
    pub measured: Duration,
    /// Messages that are there before consumers come.
    pub filled: usize,
}

/// What came of one load.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub messages_per_second: f64,
    /// Of a whole call: a send, a batch, or one lease with all its settlements.
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Of the server; of the whole process where there is none.
    pub cpu_seconds_per_100k: f64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages_per_second, p50_ms, p99_ms, cpu_seconds_per_100k } = self;
        write!(
            f,
            "{messages_per_second:>8.0}/s p50 {p50_ms:.2} p99 {p99_ms:.2} ms CPU {cpu_seconds_per_100k:.2} s"
        )
    }
}

/// Starts the subject, loads it, and stops it.
pub fn run<S: Subject>(site: &Site<'_>) -> Result<Sample> {
    // One thread is enough for the clients of every subject, and leaves the other processor to the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let subject = S::start(site).await.context("start it")?;
        let sample = load(&subject, site).await;
        let sample = subject.explain(sample)?;
        subject.stop().await?;
        Ok(sample)
    })
}

async fn load<S: Subject>(subject: &S, site: &Site<'_>) -> Result<Sample> {
    if site.mode.is_work() {
        fill(subject, site.length.filled).await.context("fill it")?;
    }
    let mut workers = Vec::new();
    for number in 0..site.mode.workers() {
        workers.push(subject.worker(number).await?);
    }
    let begun = Instant::now();
    let warm = if site.mode.is_work() { Duration::ZERO } else { site.length.warm_up };
    let clock = Rc::new(Clock {
        from: begun + warm,
        until: begun + warm + site.length.measured,
        taken: Cell::new(0),
        filled: site.length.filled,
    });
    let tasks: Vec<_> =
        workers.into_iter().map(|worker| spawn_local(work(worker, site.mode, Rc::clone(&clock)))).collect();
    tokio::time::sleep_until(clock.from.into()).await;
    let cpu = usage::tree_seconds(subject.process())?;
    let (mut messages, mut times) = (0, Vec::new());
    let mut ended = clock.from;
    for task in tasks {
        let done = task.await??;
        messages += done.messages;
        ended = ended.max(done.ended);
        times.extend(done.times);
    }
    let cpu = usage::tree_seconds(subject.process())? - cpu;
    ensure!(!times.is_empty(), "nothing was done");
    times.sort_unstable();
    let at = |part: f64| times[(times.len() as f64 * part) as usize].as_secs_f64() * 1e3;
    Ok(Sample {
        messages_per_second: messages as f64 / (ended - clock.from).as_secs_f64(),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        cpu_seconds_per_100k: cpu / messages as f64 * 100_000.0,
    })
}

/// When it is measured, and how many messages are left to be taken.
struct Clock {
    from: Instant,
    until: Instant,
    taken: Cell<usize>,
    filled: usize,
}

/// What one of the workers did while it was measured.
struct Done {
    messages: usize,
    times: Vec<Duration>,
    ended: Instant,
}

async fn work(mut worker: impl Worker, mode: Mode, clock: Rc<Clock>) -> Result<Done> {
    let mut done = Done { messages: 0, times: Vec::new(), ended: clock.from };
    loop {
        let start = Instant::now();
        if start >= clock.until || clock.taken.get() >= clock.filled && mode.is_work() {
            return Ok(done);
        }
        let messages = match mode {
            Mode::Send { .. } | Mode::Append { .. } => worker.send(body()).await.map(|()| 1),
            Mode::Batch | Mode::AppendBatch => {
                worker.send_batch((0..BATCH).map(|_| body()).collect()).await.map(|()| BATCH)
            }
            Mode::Work { most } => worker.take(most).await,
        }?;
        clock.taken.set(clock.taken.get() + messages);
        let end = Instant::now();
        // What began in the warm-up or came after the end is not counted; consumers end when all is taken.
        if start >= clock.from && end <= clock.until && messages > 0 {
            done.messages += messages;
            done.times.push(end - start);
            done.ended = if mode.is_work() { end } else { clock.until };
        }
    }
}

async fn fill<S: Subject>(subject: &S, messages: usize) -> Result<()> {
    const FILLERS: usize = 8;
    let mut tasks = Vec::new();
    for number in 0..FILLERS {
        let mut worker = subject.worker(number).await?;
        tasks.push(spawn_local(async move {
            for _ in 0..messages / FILLERS / BATCH {
                worker.send_batch((0..BATCH).map(|_| body()).collect()).await?;
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// A message that no other is like, and that can not be compressed (xorshift64*, Vigna 2014).
pub fn body() -> Bytes {
    thread_local!(static STATE: Cell<u64> = const { Cell::new(0x9e37_79b9_7f4a_7c15) });
    let next = || {
        let mut x = STATE.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        STATE.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    (0..MESSAGE_BYTES / 8).flat_map(|_| next().to_le_bytes()).collect::<Vec<_>>().into()
}
