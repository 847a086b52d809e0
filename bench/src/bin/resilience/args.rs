//! The command line. Parsed by hand: five flags do not pay for a dependency.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::subject::Row;

pub const USAGE: &str = "\
Measures resilience policies beside those of other libraries; prints a Markdown table.

usage: resilience [flags]

  --quick        three short samples, one process: does it work, not how fast is it
  --rounds N     interleaved samples of each subject                 [default 11]
  --processes N  fresh processes for two threads and for many keys   [default 5]
  --only A,B     these rows only: closed, failing, consecutive, open, retry, timeout,
                 limiter, keyed, bulkhead, pool, alone, pipeline                  [default all]
  --append FILE  append the table to FILE too
  --help         this
";

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub enum Request {
    Run(Args),
    /// Of this program by itself: one measurement in a fresh process.
    Child {
        kind: String,
        subject: String,
        effort: Effort,
    },
    Help,
}

#[derive(Debug, PartialEq)]
pub struct Args {
    pub rounds: usize,
    pub processes: usize,
    pub effort: Effort,
    pub rows: Vec<Row>,
    pub append: Option<PathBuf>,
}

/// How much is put into one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    Quick,
    Full,
}

impl Effort {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }
}

/// Before the kind of measurement, the subject and the effort of a child.
pub const CHILD: &str = "--child";

pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Request> {
    let mut words = words.into_iter();
    let mut effort = Effort::Full;
    let (mut rounds, mut processes, mut rows, mut append) = (None, None, None, None);
    while let Some(flag) = words.next() {
        let mut value = || words.next().with_context(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--quick" => effort = Effort::Quick,
            "--rounds" => rounds = Some(within(&flag, &value()?, 1_000)?),
            "--processes" => processes = Some(within(&flag, &value()?, 100)?),
            "--only" => rows = Some(list(&value()?)?),
            "--append" => append = Some(PathBuf::from(value()?)),
            "--help" | "-h" => return Ok(Request::Help),
            CHILD => {
                let (kind, subject) = (value()?, value()?);
                let effort = if value()? == Effort::Quick.name() { Effort::Quick } else { Effort::Full };
                return Ok(Request::Child { kind, subject, effort });
            }
            _ => bail!("unknown flag {flag}"),
        }
    }
    let (default_rounds, default_processes) = if effort == Effort::Quick { (3, 1) } else { (11, 5) };
    Ok(Request::Run(Args {
        rounds: rounds.unwrap_or(default_rounds),
        processes: processes.unwrap_or(default_processes),
        effort,
        rows: rows.unwrap_or_else(|| Row::ALL.to_vec()),
        append,
    }))
}

fn within(flag: &str, value: &str, max: usize) -> Result<usize> {
    match value.parse() {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        _ => bail!("{flag} takes a number from 1 to {max}, not {value:?}"),
    }
}

fn list(value: &str) -> Result<Vec<Row>> {
    let row = |name: &str| {
        let found = Row::ALL.into_iter().find(|row| row.name() == name.trim());
        found.with_context(|| format!("there is no row {name:?}"))
    };
    value.split(',').map(row).collect()
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
    fn without_flags_every_row_is_measured_with_full_effort() {
        let args = run("");
        assert_eq!((args.rounds, args.processes, args.effort), (11, 5, Effort::Full));
        assert_eq!(args.rows, Row::ALL);
    }

    #[test]
    fn quick_is_a_default_that_other_flags_override() {
        let args = run("--quick --rounds 7 --only limiter,open");
        assert_eq!((args.rounds, args.processes, args.effort), (7, 1, Effort::Quick));
        assert_eq!(args.rows, [Row::Limiter, Row::Open]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in ["--only door", "--rounds 0", "--processes x", "--rounds", "--fast", "--child keyed"] {
            assert!(parse(line.split_whitespace().map(String::from)).is_err(), "{line}");
        }
    }
}
