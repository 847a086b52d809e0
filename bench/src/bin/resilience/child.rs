//! Fresh processes: of this program, for what an earlier measurement would colour; and of the one that counts
//! allocations.

use std::collections::HashMap;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::args::{CHILD, Effort};
use crate::subject::Row;
use crate::{keyed, threads};

/// Runs the measurement that a parent asked for and prints its figures on one line.
pub fn run(kind: &str, subject: &str, effort: Effort) -> Result<()> {
    let figures = match kind {
        keyed::KIND => keyed::measure(subject, effort)?,
        threads::KIND => threads::measure(subject, effort)?,
        _ => bail!("there is no measurement {kind:?}"),
    };
    let figures: Vec<String> = figures.iter().map(f64::to_string).collect();
    println!("{}", figures.join(" "));
    Ok(())
}

/// Has a fresh process measure, and reads its figures.
pub fn measure<const FIGURES: usize>(kind: &str, subject: &str, effort: Effort) -> Result<[f64; FIGURES]> {
    let program = std::env::current_exe().context("find this program")?;
    let printed = output(Command::new(program).args([CHILD, kind, subject, effort.name()]))?;
    let figures: Vec<f64> = printed.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    figures.try_into().ok().with_context(|| format!("{kind} of {subject} printed {printed:?}"))
}

/// Allocations and bytes of one call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allocations {
    pub count: f64,
    pub bytes: f64,
}

/// What the sibling program counts in `rows`, by row and subject.
pub fn allocations(rows: &[Row]) -> Result<HashMap<(String, String), Allocations>> {
    let program =
        std::env::current_exe().context("find this program")?.with_file_name("resilience-allocations");
    let hint = "build it beside this one, as `cargo xtask bench resilience` does";
    ensure!(program.exists(), "there is no {}: {hint}", program.display());
    let printed = output(Command::new(program).args(rows.iter().map(|row| row.name())))?;
    let line = |line: &str| {
        let mut words = line.split('\t').map(str::to_owned);
        let (row, name) = (words.next()?, words.next()?);
        let (count, bytes) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(((row, name), Allocations { count, bytes }))
    };
    printed.lines().map(|text| line(text).with_context(|| format!("read {text:?}"))).collect()
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("start {command:?}"))?;
    ensure!(output.status.success(), "{command:?} ended with {}", output.status);
    String::from_utf8(output.stdout).context("read what a child printed")
}
