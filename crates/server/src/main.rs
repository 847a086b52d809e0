//! The `intertie` binary.

mod admin;
mod audit;
mod believed;
mod cli;
mod demo;
mod dependencies;
mod file;
mod health;
mod operation;
mod plan;
mod process;
mod secured;
mod series;
mod simulate;
mod told;
mod towards;
mod traces;
mod up;
mod usage;
mod watch;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
