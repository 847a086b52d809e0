//! The `intertie` binary.

mod admin;
mod cli;
mod demo;
mod file;
mod up;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
