//! The command line. Parsed by hand: nine flags do not pay for a dependency.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};

use crate::mode::Mode;
use crate::subjects::Kind;

pub const USAGE: &str = "\
Measures intertie, nginx, HAProxy and Envoy beside each other; prints a Markdown table.

usage: gateway [flags]

  --quick          one round of 2 s with 1 s of warm-up: does it work, not how fast is it
  --rounds N       rounds, each measuring every subject in every mode   [default 5]
  --seconds N      seconds of one measurement, after 2 s of warm-up     [default 5]
  --only A,B       these subjects only: intertie, nginx, haproxy, envoy [default all]
  --modes A,B      these modes only: plain, work, h2, tls, handshake,
                   resumed, large, upload, steady                       [default all]
  --memory         no load: what the subjects keep in memory for routes and idle connections
  --no-build       take target/trained/intertie as it is
  --append FILE    append the table to FILE too
  --help           this
";

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub enum Request {
    Run(Args),
    Help,
}

#[derive(Debug, PartialEq)]
pub struct Args {
    pub rounds: usize,
    pub seconds: Seconds,
    pub subjects: Vec<Kind>,
    pub modes: Vec<Mode>,
    /// Memory is measured, and no load.
    pub memory: bool,
    pub build: bool,
    pub append: Option<PathBuf>,
}

/// How long one subject is loaded, in whole seconds as the load generators take them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seconds {
    pub warm_up: u64,
    pub measured: u64,
}

pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Request> {
    let mut words = words.into_iter();
    let (mut quick, mut memory, mut build) = (false, false, true);
    let (mut rounds, mut measured, mut subjects, mut modes, mut append) = (None, None, None, None, None);
    while let Some(flag) = words.next() {
        let mut value = || words.next().with_context(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--quick" => quick = true,
            "--memory" => memory = true,
            "--no-build" => build = false,
            "--rounds" => rounds = Some(within(&flag, &value()?, 100)?),
            "--seconds" => measured = Some(within(&flag, &value()?, 600)?),
            "--only" => subjects = Some(list(&value()?)?),
            "--modes" => modes = Some(list(&value()?)?),
            "--append" => append = Some(PathBuf::from(value()?)),
            "--help" | "-h" => return Ok(Request::Help),
            _ => bail!("unknown flag {flag}"),
        }
    }
    let (default_rounds, default_seconds, warm_up) = if quick { (1, 2, 1) } else { (5, 5, 2) };
    let rounds = usize::try_from(rounds.unwrap_or(default_rounds)).context("--rounds")?;
    Ok(Request::Run(Args {
        rounds,
        seconds: Seconds { warm_up, measured: measured.unwrap_or(default_seconds) },
        subjects: subjects.unwrap_or_else(|| Kind::ALL.to_vec()),
        modes: modes.unwrap_or_else(|| Mode::ALL.to_vec()),
        memory,
        build,
        append,
    }))
}

fn within(flag: &str, value: &str, max: u64) -> Result<u64> {
    match value.parse() {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        _ => bail!("{flag} takes a number from 1 to {max}, not {value:?}"),
    }
}

/// Keeps the order given and drops repetitions.
fn list<T: FromStr<Err = anyhow::Error> + PartialEq>(value: &str) -> Result<Vec<T>> {
    let mut items = Vec::new();
    for name in value.split(',') {
        let item = name.trim().parse()?;
        if !items.contains(&item) {
            items.push(item);
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Args {
        match parse(line.split_whitespace().map(String::from)) {
            Ok(Request::Run(args)) => args,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn without_flags_everything_is_measured_five_times() {
        let args = run("");
        assert_eq!((args.rounds, args.seconds), (5, Seconds { warm_up: 2, measured: 5 }));
        assert_eq!((args.subjects, args.modes), (Kind::ALL.to_vec(), Mode::ALL.to_vec()));
        assert!(args.build);
    }

    #[test]
    fn quick_is_a_default_that_other_flags_override() {
        let args = run("--quick --rounds 3 --only envoy,nginx,envoy --modes work --no-build");
        assert_eq!((args.rounds, args.seconds), (3, Seconds { warm_up: 1, measured: 2 }));
        assert_eq!((args.subjects, args.modes), (vec![Kind::Envoy, Kind::Nginx], vec![Mode::Work]));
        assert!(!args.build);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in
            ["--only apache", "--modes quic", "--rounds 0", "--seconds x", "--rounds", "--fast", "--only "]
        {
            assert!(parse(line.split_whitespace().map(String::from)).is_err(), "{line}");
        }
    }
}
