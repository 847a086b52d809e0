//! Sockets, successors, threads, limits and the service manager.

mod activation;
mod health;
mod limits;
mod notify;
mod takeover;
mod threads;
mod uninterrupted;
mod units;

use std::process::Command;

use crate::harness::{OWN, Origin, Server, signal};

/// A whole file with one route to `origin` and `keys` in `[server]`.
fn file(origin: &Origin, keys: &str) -> String {
    format!("{OWN}{keys}\n{}", traffic(origin))
}

fn traffic(origin: &Origin) -> String {
    format!(
        "[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n[route.\"/**\"]\nto = \"origin\"\n",
        origin.address
    )
}

fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_intertie"))
}

/// The `n`-th process that came after the first.
fn successor(server: &Server, n: usize) -> u32 {
    let line = server.wait_for_nth("taken_over ", n);
    let process = line.split_once("process=").expect("a process").1.trim().parse();
    // It handles signals from its first event on.
    server.wait_for_nth("server_started", n + 1);
    process.expect("a number")
}

/// Asks for the first takeover; the process that serves after it.
fn takeover(server: &Server) -> u32 {
    server.signal("USR2");
    successor(server, 1)
}

/// The data threads of a process.
fn data_threads(process: u32) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("Linux");
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("data-")).count()
}

fn is_running(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Ends a process that came after the first.
async fn end(process: u32) {
    signal(process, "TERM");
    crate::harness::until(async || !is_running(process), "the last process ends").await;
}

/// The servers of `file` that run.
fn processes(file: &std::path::Path) -> usize {
    let path = file.to_str().expect("UTF-8");
    let entries = std::fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).any(|word| word == path.as_bytes())).count()
}
