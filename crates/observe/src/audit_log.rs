//! Events for auditors: JSON lines with a sequence, of which none is lost without a line that says so.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use intertie_core::clock::Timestamp;
use intertie_core::telemetry::{Event, Snapshot, Source};
use serde_json::{Value, json};

/// What the audit log counts.
#[derive(Debug, Clone, Default)]
pub struct AuditStats {
    /// Events that found its queue full: for those who tell events to count.
    pub lost: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
    failures: Arc<AtomicU64>,
}

impl Source for AuditStats {
    fn read(&self, snapshot: &mut Snapshot) {
        for (name, help, counter) in [
            ("audit_log_written", "Lines that the audit log took.", &self.written),
            ("audit_log_lost", "Events that found the audit log's queue full.", &self.lost),
            (
                "audit_log_failures",
                "Attempts to write a line that failed; it is tried again.",
                &self.failures,
            ),
        ] {
            snapshot.counter(name, help, &[], counter.load(Ordering::Relaxed));
        }
    }
}

/// How long to wait before a line that could not be written is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// Writes events to `target`, each with the `pid` of this process, until their senders are gone or the event
/// called `last` is written. A line that can not be written is tried again for ever; meanwhile the queue fills,
/// and what it can not hold is counted as lost and told in the next line that can.
pub fn run(events: &Receiver<Event>, target: impl Write, stats: &AuditStats, last: &str) {
    let mut log = Log { target, stats, pid: std::process::id(), sequence: 0 };
    let mut told = 0;
    while let Ok(event) = events.recv() {
        let lost = stats.lost.load(Ordering::Relaxed);
        if lost > told {
            log.write(event.at, "events_lost", [("count", Value::from(lost - told))]);
            told = lost;
        }
        let fields = event.fields.iter().map(|(name, value)| (*name, Value::from(value.as_str())));
        log.write(event.at, event.name, fields);
        if event.name == last {
            return;
        }
    }
}

struct Log<'a, W> {
    target: W,
    stats: &'a AuditStats,
    /// Of this process: during a takeover another one writes to the same file.
    pid: u32,
    /// Of the next line, so that a missing one shows.
    sequence: u64,
}

impl<W: Write> Log<'_, W> {
    fn write(&mut self, at: Timestamp, name: &str, fields: impl IntoIterator<Item = (&'static str, Value)>) {
        let (pid, sequence) = (self.pid, self.sequence);
        let mut document = json!({ "at": at.to_string(), "pid": pid, "sequence": sequence, "event": name });
        for (name, value) in fields {
            document[name] = value;
        }
        let mut line = format!("{document}\n");
        while let Err(_refused) = self.target.write_all(line.as_bytes()).and_then(|()| self.target.flush()) {
            self.stats.failures.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(RETRY_EVERY);
            // What was written of it stays a line of its own.
            line = format!("\n{document}\n");
        }
        self.sequence += 1;
        self.stats.written.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::sync_channel;

    use intertie_core::clock::WallClock;
    use intertie_core::telemetry::Events;

    use super::*;

    /// A disk that refuses its first writes, the very first one half done.
    #[derive(Default)]
    struct Full {
        refusals: u32,
        written: Vec<u8>,
    }

    impl Write for &mut Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.refusals == 0 {
                self.written.extend(bytes);
                return Ok(bytes.len());
            }
            self.refusals -= 1;
            if self.written.is_empty() {
                self.written.extend(&bytes[..4]);
                return Ok(4);
            }
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_lost_is_told_and_what_fails_is_tried_again() {
        let (events, stats) =
            (Events::new(WallClock::fixed(Timestamp::from_unix_seconds(0))), AuditStats::default());
        let (sender, received) = sync_channel(2);
        events.listen(sender, Arc::clone(&stats.lost));
        for name in ["first", "second", "third", "fourth"] {
            events.tell(name, || vec![("cause", "a \"b\"\n".to_owned())]);
        }
        drop(events);
        let mut disk = Full { refusals: 2, ..Full::default() };
        run(&received, &mut disk, &stats, "never");
        let text = String::from_utf8(disk.written).expect("UTF-8");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(lines[0], "{\"at", "the half that was written");
        let lines: Vec<Value> =
            lines[1..].iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let said: Vec<_> =
            lines.iter().map(|line| (line["event"].as_str(), line["sequence"].as_u64())).collect();
        assert_eq!(
            said,
            [(Some("events_lost"), Some(0)), (Some("first"), Some(1)), (Some("second"), Some(2))]
        );
        assert_eq!(lines[0]["count"], 2);
        assert_eq!(lines[1]["cause"], "a \"b\"\n");
        assert_eq!(stats.failures.load(Ordering::Relaxed), 1);
    }
}
