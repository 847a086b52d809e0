//! The `intertie` binary.

mod admin;
mod api;
mod audit;
mod cli;
mod data;
mod demo;
mod dependencies;
mod explain;
mod file;
#[cfg(test)]
mod fuzz;
mod health;
mod operation;
mod plan;
mod queue;
mod series;
mod simulate;
mod store;
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
