//! Measures queues and topics: ours in process, and brokers beside each other, each through its own client.
//!
//! The two are tables of their own and never compared: one has no socket. Every subject says how durable a message is
//! when its sender hears so. `bench/README.md` says what each is configured to do, and where the comparison limps.

mod args;
mod disk;
mod growth;
mod measure;
mod mode;
mod report;
mod subjects;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use intertie_bench::machine::Machine;
use intertie_bench::process;
use intertie_bench::workdir::WorkDir;

use crate::args::{Args, Request};
use crate::disk::Disk;
use crate::report::{Report, Series};
use crate::subjects::{Kind, Site};

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
    let report = if args.growth { growth::run()? } else { measure_all(args)? };
    print!("{report}");
    args.append.as_deref().map_or(Ok(()), |path| intertie_bench::append(path, &report))
}

fn measure_all(args: &Args) -> Result<String> {
    let machine = Machine::read()?;
    let versions = args
        .subjects
        .iter()
        .map(|&kind| Ok((kind, kind.prepare(args.build)?)))
        .collect::<Result<Vec<_>>>()?;
    let dir = WorkDir::create()?;
    let mut disk = vec![Disk::measure(dir.path())?];
    let mut series: Vec<_> = Series::all(&args.subjects);
    for round in 0..args.rounds {
        // Each round another one goes first.
        let first = round % series.len().max(1);
        series.rotate_left(first);
        for Series { kind, mode, samples } in &mut series {
            let site = Site { dir: &dir.path().join("subject"), mode: *mode, length: args.length };
            let sample = measure_fresh(*kind, &site)
                .with_context(|| format!("{kind}, mode {mode}, round {}", round + 1))?;
            eprintln!("round {}/{} {kind:<18} {mode:<10} {sample}", round + 1, args.rounds);
            samples.push(sample);
        }
        series.rotate_right(first);
        disk.push(Disk::measure(dir.path())?);
    }
    Ok(Report { machine, args, versions, disk, series }.render())
}

/// In a directory that is made for it and removed afterwards.
fn measure_fresh(kind: Kind, site: &Site<'_>) -> Result<measure::Sample> {
    std::fs::create_dir(site.dir).with_context(|| format!("create {}", site.dir.display()))?;
    let sample = kind.measure(site);
    let removed = std::fs::remove_dir_all(site.dir);
    let sample = sample?;
    removed.with_context(|| format!("remove {}", site.dir.display()))?;
    Ok(sample)
}
