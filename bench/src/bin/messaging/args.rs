//! The command line. Parsed by hand: eight flags do not pay for a dependency.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::measure::Length;
use crate::subjects::Kind;

pub const USAGE: &str = "\
Measures our queues and topics in process, and brokers beside each other; prints Markdown tables.

usage: messaging [flags]

  --quick          one round of 1 s with 1 s of warm-up: does it work, not how fast is it
  --rounds N       rounds, each measuring every subject in every mode   [default 5]
  --seconds N      seconds of one measurement, after 2 s of warm-up     [default 4]
  --only A,B       these subjects only: intertie-library, intertie,
                   rabbitmq, postgresql, redis, nats, nats-default      [default all]
  --growth         no load: a queue of up to ten million messages, in process
  --no-build       take target/trained/intertie as it is
  --append FILE    append the tables to FILE too
  --help           this
";

/// What the command line asks for.
#[derive(Debug)]
pub enum Request {
    Run(Args),
    Help,
}

#[derive(Debug)]
pub struct Args {
    pub rounds: usize,
    pub length: Length,
    pub subjects: Vec<Kind>,
    /// Growth is measured, and no load.
    pub growth: bool,
    pub build: bool,
    pub append: Option<PathBuf>,
}

pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Request> {
    let mut words = words.into_iter();
    let (mut build, mut quick, mut growth, mut rounds, mut seconds, mut subjects, mut append) =
        (true, false, false, None, None, None, None);
    while let Some(flag) = words.next() {
        let mut value = || words.next().with_context(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--quick" => quick = true,
            "--growth" => growth = true,
            "--no-build" => build = false,
            "--rounds" => rounds = Some(within(&flag, &value()?, 100)?),
            "--seconds" => seconds = Some(within(&flag, &value()?, 600)?),
            "--only" => {
                let names = value()?;
                subjects = Some(names.split(',').map(|name| name.trim().parse()).collect::<Result<_>>()?);
            }
            "--append" => append = Some(PathBuf::from(value()?)),
            "--help" | "-h" => return Ok(Request::Help),
            _ => bail!("unknown flag {flag}"),
        }
    }
    let (default_rounds, default_seconds, warm_up, filled) =
        if quick { (1, 1, 1, 20_000) } else { (5, 4, 2, 200_000) };
    Ok(Request::Run(Args {
        rounds: usize::try_from(rounds.unwrap_or(default_rounds)).context("--rounds")?,
        length: Length {
            warm_up: Duration::from_secs(warm_up),
            measured: Duration::from_secs(seconds.unwrap_or(default_seconds)),
            filled,
        },
        subjects: subjects.unwrap_or_else(|| Kind::ALL.to_vec()),
        growth,
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
    fn flags_are_read_and_wrong_ones_refused() {
        let args = run("--quick --rounds 2 --only nats,redis");
        assert_eq!((args.rounds, args.length.measured), (2, Duration::from_secs(1)));
        assert_eq!(args.subjects, [Kind::Nats, Kind::Redis]);
        assert_eq!(run("").subjects, Kind::ALL);
        for wrong in ["--rounds 0", "--only kafka", "--seconds", "--fast"] {
            assert!(parse(wrong.split_whitespace().map(String::from)).is_err(), "{wrong}");
        }
    }
}
