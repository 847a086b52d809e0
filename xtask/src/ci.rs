//! The whole gate. CI runs this and nothing else.

use anyhow::{Context, Result};

use crate::{cargo, tidy};

/// One step, with warnings of rustdoc as errors.
fn step(name: &str, arguments: &[&str]) -> Result<()> {
    println!("\n== {name}: cargo {}", arguments.join(" "));
    let mut command = cargo();
    command.args(arguments).env("RUSTDOCFLAGS", "-D warnings");
    crate::run(command).with_context(|| format!("step `{name}` failed"))
}

/// Runs every step, stopping at the first that fails.
pub(crate) fn run() -> Result<()> {
    step("format", &["fmt", "--all", "--check"])?;
    println!("\n== tidy");
    tidy::run()?;
    step("lint", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    step("test", &["test", "--workspace", "--all-targets"])?;
    step("doc tests", &["test", "--workspace", "--doc"])?;
    step("docs", &["doc", "--workspace", "--no-deps"])?;
    println!("\nall steps passed");
    Ok(())
}
