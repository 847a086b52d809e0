//! What must be gone when all clients have gone, and what may not grow.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::gateway::Gateway;

/// Memory may grow so much.
const MEMORY_MORE_MAX_KIB: u64 = 16 * 1024;

/// By then all that is taken once has been taken.
const WARM_AFTER: Duration = Duration::from_secs(300);

/// What must be empty when all clients have gone.
const HELD: [&str; 6] = [
    "intertie_gateway_connections",
    "intertie_upgrades_open",
    "intertie_endpoint_in_flight",
    "intertie_bulkhead_running",
    "intertie_bulkhead_waiting",
    "intertie_retry_budget_in_flight",
];

/// Longer than idle connections of clients and to services are kept.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// Resident memory, in KiB, by when it was measured.
#[derive(Debug, Default)]
pub(super) struct Memory(Vec<(Duration, u64)>);

impl Memory {
    pub(super) fn add(&mut self, after: Duration, resident_kib: u64) {
        self.0.push((after, resident_kib));
    }

    /// Compares the end with what was resident after five minutes, or a quarter of a shorter time.
    pub(super) fn judge(&self) -> Result<()> {
        let (lasted, last) = *self.0.last().context("memory was not measured")?;
        let warm = WARM_AFTER.min(lasted / 4);
        let (after, first) = *self.0.iter().find(|(after, _)| *after >= warm).context("nothing is warm")?;
        let mib = |kib: u64| kib as f64 / 1024.0;
        println!(
            "\n{:.1} MiB of memory are resident after {:.0} s, {:.1} MiB after {:.0} s.",
            mib(first),
            after.as_secs_f64(),
            mib(last),
            lasted.as_secs_f64()
        );
        ensure!(last <= first + MEMORY_MORE_MAX_KIB, "memory grew from {first} KiB to {last} KiB");
        Ok(())
    }
}

/// Waits until nothing of the clients is left, where `fresh` descriptors were open before they came.
pub(super) fn settle(gateway: &Gateway, fresh: usize) -> Result<()> {
    let started = Instant::now();
    loop {
        let mut held = Vec::new();
        for metric in HELD {
            held.push((metric, gateway.metric(metric).context("the server no longer answers")?));
        }
        let left = left(&held, fresh, gateway.descriptors()?);
        if left.is_empty() {
            return Ok(());
        }
        ensure!(started.elapsed() < SETTLED_WITHIN, "left behind: {}", left.join(", "));
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn left(held: &[(&str, f64)], fresh: usize, descriptors: usize) -> Vec<String> {
    let held = held.iter().filter(|(_, held)| *held != 0.0);
    let mut left: Vec<String> = held.map(|(metric, held)| format!("{metric} is {held}")).collect();
    if descriptors > fresh {
        left.push(format!("{descriptors} descriptors are open, where {fresh} were at the beginning"));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_is_found_and_what_a_start_takes_is_not() {
        let judged = |rows: &[(u64, u64)]| {
            let rows = rows.iter().map(|(after, kib)| (Duration::from_secs(*after), *kib)).collect();
            Memory(rows).judge().is_ok()
        };
        assert!(judged(&[(60, 10_000), (300, 30_000), (3600, 30_000 + 16 * 1024)]));
        assert!(!judged(&[(60, 10_000), (300, 30_000), (3600, 30_001 + 16 * 1024)]));
        assert!(judged(&[(15, 10_000), (45, 30_000), (180, 30_000)]), "a quarter of three minutes");
        assert!(!judged(&[(15, 10_000), (45, 10_000), (180, 30_000)]));
        assert!(!judged(&[]));
    }

    #[test]
    fn whatever_is_held_is_left_behind() {
        let held = |count| [(HELD[0], 0.0), (HELD[1], count)];
        assert!(left(&held(0.0), 20, 20).is_empty());
        assert_eq!(left(&held(1.0), 20, 20), ["intertie_upgrades_open is 1"]);
        assert_eq!(left(&held(0.0), 20, 21).len(), 1);
    }
}
