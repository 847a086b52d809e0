//! Measures resilience policies beside those of other libraries: what a policy costs around an operation that is
//! ready at once.
//!
//! The unit is C, one `Instant::now()` measured in the same round. `bench/README.md` says what each subject is
//! configured to do, and where the comparison limps.

mod args;
mod child;
mod keyed;
mod measure;
mod ours;
mod report;
mod rivals;
mod subject;
mod subjects;
mod targets;
mod threads;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use intertie_bench::machine::Machine;

use crate::args::{Args, Request};
use crate::report::Report;

fn main() -> ExitCode {
    let request = match args::parse(std::env::args().skip(1)) {
        Ok(request) => request,
        Err(error) => {
            eprintln!("error: {error:#}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    let done = match request {
        Request::Help => {
            print!("{}", args::USAGE);
            Ok(())
        }
        Request::Child { kind, subject, effort } => child::run(&kind, &subject, effort),
        Request::Run(args) => run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    // Read before the first load of ours, which would show in the load average.
    let machine = Machine::read()?;
    let subjects = subjects::of(&args.rows);
    for subject in &subjects {
        (subject.check)().with_context(|| format!("check {}, {}", subject.row.name(), subject.name))?;
    }
    let report = Report {
        machine,
        args,
        allocations: child::allocations(&args.rows)?,
        costs: measure::all(&subjects, args),
        keyed: keyed::all(args)?,
        threads: threads::all(&subjects, args)?,
    };
    let report = report.render();
    print!("{report}");
    args.append.as_deref().map_or(Ok(()), |path| intertie_bench::append(path, &report))
}
