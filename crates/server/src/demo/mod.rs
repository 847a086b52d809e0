use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArguments {}

#[derive(Debug, clap::Args)]
pub(crate) struct ServiceArguments {}

pub(crate) fn run(_: &DemoArguments) -> ExitCode {
    ExitCode::SUCCESS
}

pub(crate) fn serve(_: &ServiceArguments) -> ExitCode {
    ExitCode::SUCCESS
}
