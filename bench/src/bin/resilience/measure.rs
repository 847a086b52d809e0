//! One thread: what a call costs more than the bare operation.

use std::hint::black_box;
use std::time::{Duration, Instant};

use intertie_bench::statistics::Samples;
use nix::time::ClockId;

use crate::args::{Args, Effort};
use crate::subject::{Row, Subject, Work, every_tenth_fails, passes, plain, work};

/// What was measured in a round, in nanoseconds: a reading of the clock, and each subject's net cost.
pub struct Costs {
    pub clock: Samples,
    /// The bare operation, for those who want to add it again.
    pub bare: Samples,
    pub subjects: Vec<Cost>,
}

/// What one call costs beyond the operation, in nanoseconds, round by round.
pub struct Cost {
    pub row: Row,
    pub name: &'static str,
    pub net: Samples,
}

/// Work whose samples take about the same time.
struct Timed {
    work: Work,
    calls: u64,
}

impl Timed {
    fn new(mut work: Work, sample: Duration) -> Self {
        let mut calls = 1_000;
        // Also warms it up.
        loop {
            let nanos = nanos_per_call(&mut work, calls);
            let wanted = (sample.as_nanos() as f64 / nanos) as u64;
            if calls * 4 >= wanted {
                return Self { work, calls: wanted.max(1) };
            }
            calls *= 4;
        }
    }

    fn sample(&mut self) -> f64 {
        nanos_per_call(&mut self.work, self.calls)
    }
}

fn nanos_per_call(work: &mut Work, calls: u64) -> f64 {
    let started = cpu_time();
    work(calls);
    (cpu_time() - started).as_nanos() as f64 / calls as f64
}

/// What this thread computed so far: nothing here ever waits, and time in which another program had the processor
/// is not the policy's.
pub fn cpu_time() -> Duration {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().expect("Linux keeps this clock").into()
}

/// The unit: how long one reading of the clock takes.
pub fn clock() -> Work {
    Box::new(|readings| {
        for _ in 0..readings {
            black_box(Instant::now());
        }
    })
}

/// The bare operation, which every figure is net of.
fn bare(row: Row) -> Work {
    match row {
        Row::Failing => work(row, async |number| plain(&every_tenth_fails(number).await)),
        _ => work(row, async |number| plain(&passes(number).await)),
    }
}

/// Interleaved: each round measures everything once, and each round another subject goes first.
pub fn all(subjects: &[Subject], args: &Args) -> Costs {
    let sample = match args.effort {
        Effort::Quick => Duration::from_millis(3),
        Effort::Full => Duration::from_millis(20),
    };
    let mut reading = Timed::new(clock(), sample);
    let mut passing = Timed::new(bare(Row::Closed), sample);
    let mut failing = Timed::new(bare(Row::Failing), sample);
    let mut works: Vec<_> = subjects.iter().map(|subject| Timed::new(subject.work(), sample)).collect();

    let cost = |subject: &Subject| Cost { row: subject.row, name: subject.name, net: Samples::default() };
    let mut costs = Costs {
        clock: Samples::default(),
        bare: Samples::default(),
        subjects: subjects.iter().map(cost).collect(),
    };
    for round in 0..args.rounds {
        eprintln!("one thread, round {}/{}", round + 1, args.rounds);
        let (passing, failing) = (passing.sample(), failing.sample());
        costs.clock.push(reading.sample());
        costs.bare.push(passing);
        for turn in 0..works.len() {
            let place = (round + turn) % works.len();
            let cost = &mut costs.subjects[place];
            let bare = if cost.row == Row::Failing { failing } else { passing };
            cost.net.push(works[place].sample() - bare);
        }
    }
    costs
}
