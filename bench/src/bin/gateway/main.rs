//! Measures reverse proxies beside each other on one machine: intertie, nginx, HAProxy and Envoy, with one origin
//! behind them and one load generator in front, all on loopback.
//!
//! The figure that holds against noise is CPU time of the proxy per 100,000 requests. The runs are interleaved and
//! every ratio compares two runs of the same round, because machines drift by more than the proxies differ.
//! `bench/README.md` says what each subject is configured to do, and where the comparison limps.

mod args;
mod certificate;
mod load;
mod measure;
mod memory;
mod mode;
mod origin;
mod probe;
mod report;
mod subjects;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use intertie_bench::process;
use intertie_bench::workdir::WorkDir;

use crate::args::{Args, Request};
use crate::measure::Bench;
use crate::mode::Mode;
use crate::origin::Origin;
use crate::report::{Environment, Series};
use crate::subjects::Subject;

fn main() -> ExitCode {
    let args = match args::parse(std::env::args().skip(1)) {
        Ok(Request::Help) => {
            print!("{}", args::USAGE);
            return ExitCode::SUCCESS;
        }
        Ok(Request::Run(args)) => args,
        Err(error) => {
            eprintln!("error: {error:#}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    process::stop_on_signals()?;
    let load = load::Tools::find(if args.memory { &[] } else { &args.modes })?;
    let subjects =
        args.subjects.iter().map(|&kind| Subject::prepare(kind, args)).collect::<Result<Vec<_>>>()?;
    // Read before the first load of ours, which would show in the load average.
    let environment = Environment::read(&subjects, &load)?;

    let dir = WorkDir::create()?;
    if args.memory || args.modes.iter().any(|mode| mode.has_tls()) {
        certificate::make(dir.path())?;
    }
    let origin = Origin::start(dir.path())?;
    let (dir, origin_port, sink_port) = (dir.path(), origin.port(), origin::start_sink()?);
    let mut bench = Bench { dir, origin_port, sink_port, load: &load, seconds: args.seconds, steady: None };
    if !args.memory && args.modes.contains(&Mode::Steady) {
        bench.find_steady(&subjects)?;
    }
    let report = if args.memory {
        let rows = subjects.iter().map(|subject| Ok((subject, bench.footprint(subject)?)));
        report::render_memory(&environment, &rows.collect::<Result<Vec<_>>>()?)
    } else {
        report::render(&environment, args, &measure_all(&bench, args, &subjects)?)
    };
    origin.stop()?;
    print!("{report}");
    args.append.as_deref().map_or(Ok(()), |path| intertie_bench::append(path, &report))
}

fn measure_all<'a>(bench: &Bench<'_>, args: &Args, subjects: &'a [Subject]) -> Result<Vec<Series<'a>>> {
    let mut series: Vec<Series<'a>> = args
        .modes
        .iter()
        .flat_map(|&mode| subjects.iter().map(move |subject| Series::new(mode, subject)))
        .collect();
    for round in 0..args.rounds {
        for mode_series in series.chunks_mut(subjects.len()) {
            // Each round another subject goes first: none is always the one after the rest, or after a warm machine.
            for turn in 0..subjects.len() {
                let Series { mode, subject, samples } = &mut mode_series[(round + turn) % subjects.len()];
                let sample = bench
                    .measure(subject, *mode)
                    .with_context(|| format!("{}, mode {mode}, round {}", subject.kind, round + 1))?;
                eprintln!("round {}/{} {mode:<5} {:<8} {sample}", round + 1, args.rounds, subject.kind);
                samples.push(sample);
            }
        }
    }
    Ok(series)
}
