//! `intertie demo`: the shop under five faults, everything real: processes, sockets, signals.
//!
//! The services and the server are this binary started again. Each of them ends when its standard input
//! closes, so that nothing outlives the demo, however it dies.

mod client;
mod process;
mod report;
mod scrape;
mod script;
mod service;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Result;

pub(crate) use service::{ServiceArguments, serve};

/// How the demo runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  intertie demo\n  intertie demo --fast | tail -40\n\n\
    It listens on free ports of the loopback address alone and leaves nothing behind.")]
pub(crate) struct DemoArguments {
    /// A third of the time, for scripts.
    #[arg(long)]
    fast: bool,
}

/// Runs the demo to its end or to Ctrl-C.
pub(crate) fn run(arguments: &DemoArguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: failed to start a runtime: {error}");
            return ExitCode::from(3);
        }
    };
    match runtime.block_on(until_interrupted(arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        // What a shell reports for a process that Ctrl-C ended.
        Ok(false) => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}

/// False when a signal ended it. Dropping the shop ends its processes.
async fn until_interrupted(arguments: &DemoArguments) -> Result<bool> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let terminal = std::io::stdout().is_terminal();
    let pace = if arguments.fast { 1.0 / 3.0 } else { 1.0 };
    tokio::select! {
        done = script::run(pace, terminal) => done.map(|()| true),
        _ = tokio::signal::ctrl_c() => Ok(false),
        _ = terminate.recv() => Ok(false),
    }
}
