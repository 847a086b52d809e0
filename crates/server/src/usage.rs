//! The process itself: what it uses of the machine, and how much of that it may.

use std::sync::OnceLock;

use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::telemetry::{Events, Snapshot, Source, Value};
use serde_json::json;

/// What the operating system says of this process; what it does not say is 0.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) memory_bytes: u64,
    pub(crate) threads: u64,
    pub(crate) descriptors: u64,
    pub(crate) descriptors_max: u64,
}

/// Ticks of the processor's clock in a second, as Linux shows them to every process.
const TICKS: f64 = 100.0;

impl Usage {
    pub(crate) fn read() -> Self {
        let file = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
        Self { descriptors, ..Self::parse(&file("stat"), &file("status"), &file("limits")) }
    }

    /// Reads what Linux writes in `/proc/self/stat`, `status` and `limits`.
    fn parse(stat: &str, status: &str, limits: &str) -> Self {
        // A process's name, in brackets, may hold anything.
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks =
            |place: usize| after_name.split(' ').nth(place).and_then(|ticks| ticks.parse::<f64>().ok());
        let row = |text: &str, name: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
            rest.split_whitespace().next()?.parse::<u64>().ok()
        };
        Self {
            cpu_seconds: (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / TICKS,
            memory_bytes: row(status, "VmRSS:").unwrap_or(0) * 1024,
            threads: row(status, "Threads:").unwrap_or(0),
            descriptors: 0,
            descriptors_max: row(limits, "Max open files").unwrap_or(0),
        }
    }
}

/// The process as a source of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    events: Events,
    started: Timestamp,
}

impl Process {
    /// The process, which begins when this is first called.
    pub(crate) fn new(events: Events) -> Self {
        static STARTED: OnceLock<Timestamp> = OnceLock::new();
        Self { events, started: *STARTED.get_or_init(|| WallClock::system().now()) }
    }

    /// How it stands in a health document.
    pub(crate) fn document(&self) -> serde_json::Value {
        let usage = Usage::read();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "started": self.started.to_string(),
            "memory_bytes": usage.memory_bytes,
            "threads": usage.threads,
            "descriptors": usage.descriptors,
            "descriptors_max": usage.descriptors_max,
            "events_dropped": self.events.dropped(),
        })
    }
}

impl Source for Process {
    fn read(&self, snapshot: &mut Snapshot) {
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        snapshot.gauge("build_info", "1, labelled with the version.", &labels, 1.0);
        let help = "Events that found a log's queue full.";
        snapshot.counter("events_dropped", help, &[], self.events.dropped());
        let usage = Usage::read();
        let help = "Time that processors spent on the process.";
        snapshot.add("process_cpu_seconds", help, &[], Value::FloatCounter(usage.cpu_seconds));
        for (name, help, value) in [
            ("process_memory_bytes", "Memory that the process has resident.", usage.memory_bytes),
            ("process_threads", "Threads of the process.", usage.threads),
            ("process_descriptors", "Open file descriptors.", usage.descriptors),
            ("process_descriptors_max", "File descriptors that may be open.", usage.descriptors_max),
        ] {
            snapshot.gauge(name, help, &[], value as f64);
        }
        let started = self.started.as_unix_nanos() as f64 / 1e9;
        snapshot.gauge("process_start_time_seconds", "When it began, in seconds since 1970.", &[], started);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_writes_is_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 4 0 1 1 1";
        let status = "Name:\ta\nVmRSS:\t    2048 kB\nThreads:\t4\n";
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 4096                 files\n";
        let usage = Usage::parse(stat, status, limits);
        let expected = Usage {
            cpu_seconds: 3.0,
            memory_bytes: 2 << 20,
            threads: 4,
            descriptors: 0,
            descriptors_max: 1024,
        };
        assert_eq!(usage, expected);
        assert_eq!(Usage::parse("", "", "Max open files unlimited"), Usage::default());
    }
}
