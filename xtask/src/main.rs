//! `cargo xtask`: the gate, tidiness and benchmarks.

mod ci;
mod dist;
mod endurance;
mod h2spec;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

const HELP: &str = "\
cargo xtask ci                 the whole gate: fmt, tidy, clippy, tests, h2spec, loom, doc tests, docs
cargo xtask dist               the server as it is shipped, guided by a profile of a day of traffic
cargo xtask h2spec             every case of h2spec against the server, without TLS and with it
cargo xtask tidy               what no compiler checks: licences, layers, pages, dead files
cargo xtask takeovers          a thousand takeovers and changes of threads under new connections
cargo xtask browser            Chromium before the server: fetch, uploads, events, sockets, another origin
cargo xtask corpus             the corpus of messages in doubt, here, in nginx and in HAProxy
cargo xtask soak …             hours at half load with faults, reloads and restarts: does anything leak
cargo xtask bench overload …   goodput and memory at 2 × and 5 × capacity
cargo xtask bench gateway …    ours beside nginx, HAProxy and Envoy; see bench/README.md
cargo xtask bench routes       what finding a route costs with 10 and with 10,000 of them
cargo xtask bench resilience … our policies beside those of other libraries; see bench/README.md
cargo xtask bench messaging …  our queues and topics, and brokers beside each other; see bench/README.md";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["ci"] => ci::run(),
        ["dist"] => dist::build_guided(),
        ["tidy"] => tidy::run(),
        ["takeovers"] => takeovers(),
        ["h2spec"] => h2spec::run(),
        ["browser"] => browser(),
        ["corpus"] => corpus(),
        ["soak", rest @ ..] => endurance::soak(rest),
        ["bench", "overload", rest @ ..] => endurance::overload(rest),
        ["bench", bench, rest @ ..] => run_bench(bench, rest),
        _ => {
            println!("{HELP}");
            return if words == ["--help"] { ExitCode::SUCCESS } else { ExitCode::from(2) };
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The test of the gate, with more rounds than the gate has time for.
fn takeovers() -> Result<()> {
    let mut command = cargo();
    command
        .args(["test", "-p", "intertie", "--test", "it", "operation::uninterrupted", "--", "--nocapture"])
        .env("INTERTIE_TAKEOVERS", "1000");
    run(command)
}

/// The test of the clients that is too large to install for the gate.
fn browser() -> Result<()> {
    ignored("clients::browser::a_browser_finds_all_that_it_needs")
}

/// Writes docs/corpus.md: what becomes of the corpus here, in nginx and in HAProxy.
fn corpus() -> Result<()> {
    ignored("corpus::others::write_the_page_of_the_corpus")
}

/// One test of the server that `cargo test` leaves out, and says so.
fn ignored(test: &str) -> Result<()> {
    let mut command = cargo();
    command.args(["test", "-p", "intertie", "--test", "it", test, "--", "--exact", "--ignored"]);
    run(command)
}

/// The bench workspace is built on its own: its rivals never enter the gate.
fn run_bench(name: &str, rest: &[&str]) -> Result<()> {
    // Single nanoseconds are measured as they are shipped.
    let build = match name {
        "resilience" => ["--profile=dist", "--features=resilience"].as_slice(),
        "messaging" => &["--profile=dist", "--features=messaging"],
        _ => &["--release"],
    };
    let bench = |verb: &str, binary: &str| {
        let mut command = cargo();
        command.arg(verb).args(build).args(["--manifest-path", "bench/Cargo.toml", "--bin", binary]);
        command
    };
    if name == "resilience" {
        // The bench starts it from beside itself.
        run(bench("build", "resilience-allocations"))?;
    }
    let mut command = bench("run", name);
    command.arg("--").args(rest);
    run(command)
}

/// The workspace's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Cargo in the workspace's root, as if it was not started by another that runs this package: what that says of
/// it would build some crates, such as ring, anew.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if name.to_str().is_some_and(|name| of_package.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
    command
}

fn run(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("failed to start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
