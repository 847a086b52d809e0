//! The whole gate. CI runs this and nothing else.

use anyhow::{Context, Result};

use crate::{cargo, h2spec, tidy};

/// One step, with warnings of rustdoc as errors.
fn step(name: &str, arguments: &[&str]) -> Result<()> {
    println!("\n== {name}: cargo {}", arguments.join(" "));
    let mut command = cargo();
    command.args(arguments).env("RUSTDOCFLAGS", "-D warnings");
    crate::run(command).with_context(|| format!("step `{name}` failed"))
}

/// Tests that see every order in which threads can meet. They are built with other flags, so in a folder of
/// their own: the builds of the other steps stay.
fn loom() -> Result<()> {
    let arguments = ["test", "-p", "intertie-resilience", "--lib", "--release", "loom"];
    println!("\n== loom: cargo {}", arguments.join(" "));
    let mut command = cargo();
    command.args(arguments).env("RUSTFLAGS", "--cfg intertie_loom").env("CARGO_TARGET_DIR", "target/loom");
    crate::run(command).context("step `loom` failed")
}

/// Runs every step, stopping at the first that fails.
pub(crate) fn run() -> Result<()> {
    step("format", &["fmt", "--all", "--check"])?;
    println!("\n== tidy");
    tidy::run()?;
    step("lint", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    step("test", &["test", "--workspace", "--all-targets"])?;
    println!("\n== h2spec");
    h2spec::run().context("step `h2spec` failed")?;
    loom()?;
    step("doc tests", &["test", "--workspace", "--doc"])?;
    step("docs", &["doc", "--workspace", "--no-deps"])?;
    println!("\nall steps passed");
    Ok(())
}
