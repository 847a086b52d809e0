//! Two threads: the throughput of two that share one object, divided by that of two with one object each.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use intertie_bench::statistics::Samples;

use crate::args::{Args, Effort};
use crate::child;
use crate::measure::cpu_time;
use crate::subject::{Object, Row, Share, Subject, Work};
use crate::subjects;

/// What a child is told to measure.
pub const KIND: &str = "threads";

/// Rows whose object is one that threads share.
const ROWS: [Row; 5] = [Row::Closed, Row::Failing, Row::Limiter, Row::Bulkhead, Row::Pipeline];

/// How far sharing slows a subject, one sample for each process.
pub struct Sharing {
    pub row: Row,
    pub name: &'static str,
    pub ratio: Samples,
    /// How many processors the two threads had while each had its own object. Below two the machine was busy, and
    /// threads that take turns do not disturb each other.
    pub processors: Samples,
}

/// Each process measures one subject; the subjects take turns.
pub fn all(subjects: &[Subject], args: &Args) -> Result<Vec<Sharing>> {
    let shared =
        |subject: &&Subject| ROWS.contains(&subject.row) && matches!(subject.object, Object::Shared(_));
    let sharing = |subject: &Subject| Sharing {
        row: subject.row,
        name: subject.name,
        ratio: Samples::default(),
        processors: Samples::default(),
    };
    let mut all: Vec<Sharing> = subjects.iter().filter(shared).map(sharing).collect();
    for process in 0..args.processes {
        eprintln!("two threads, process {}/{}", process + 1, args.processes);
        for sharing in &mut all {
            let key = format!("{}/{}", sharing.row.name(), sharing.name);
            let [ratio, processors] = child::measure(KIND, &key, args.effort)?;
            sharing.ratio.push(ratio);
            sharing.processors.push(processors);
        }
    }
    Ok(all)
}

/// The child's part: the median of interleaved rounds.
pub fn measure(key: &str, effort: Effort) -> Result<Vec<f64>> {
    let mut all = subjects::of(&ROWS).into_iter();
    let subject = all.find(|subject| key == format!("{}/{}", subject.row.name(), subject.name));
    let (row, make) = match subject.map(|subject| (subject.row, subject.object)) {
        Some((row, Object::Shared(make))) => Some((row, make)),
        _ => None,
    }
    .with_context(|| format!("nothing called {key:?} can be shared"))?;
    let (rounds, time) = match effort {
        Effort::Quick => (3, Duration::from_millis(10)),
        Effort::Full => (9, Duration::from_millis(40)),
    };
    let (mut ratios, mut processors) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        let (one, another): (Share, Share) = (make(row), make(row));
        let shared = throughput([one(), one()], time);
        let apart = throughput([one(), another()], time);
        ratios.push(shared.calls_per_second / apart.calls_per_second);
        processors.push(apart.processors);
    }
    Ok(vec![ratios.median(), processors.median()])
}

/// What both threads together achieved while they were at work.
struct Throughput {
    calls_per_second: f64,
    processors: f64,
}

fn throughput(works: [Work; 2], time: Duration) -> Throughput {
    let start = Barrier::new(2);
    let run = |mut work: Work| {
        work(BATCH);
        start.wait();
        let (started, cpu_before, mut calls) = (Instant::now(), cpu_time(), 0_u64);
        while started.elapsed() < time {
            work(BATCH);
            calls += BATCH;
        }
        let seconds = started.elapsed().as_secs_f64();
        (calls as f64 / seconds, (cpu_time() - cpu_before).as_secs_f64() / seconds)
    };
    let [one, another] = works;
    let both = std::thread::scope(|scope| {
        let threads = [scope.spawn(|| run(another)), scope.spawn(|| run(one))];
        threads.map(|thread| thread.join().expect("every call ends as planned"))
    });
    Throughput {
        calls_per_second: both.iter().map(|(calls, _)| calls).sum(),
        processors: both.iter().map(|(_, processors)| processors).sum(),
    }
}

/// Calls between two looks at the clock: well below a millisecond of most subjects.
const BATCH: u64 = 1_000;
