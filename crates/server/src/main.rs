//! The `intertie` binary.

mod admin;
mod audit;
mod cli;
mod demo;
mod dependencies;
mod file;
mod plan;
mod secured;
mod series;
mod simulate;
mod told;
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
