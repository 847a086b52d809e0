//! The `intertie` binary.

mod admin;
mod believed;
mod cli;
mod demo;
mod file;
mod health;
mod operation;
mod plan;
mod process;
mod secured;
mod simulate;
mod towards;
mod up;
mod watch;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
