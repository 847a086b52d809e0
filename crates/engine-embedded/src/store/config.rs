use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, ByteSize, DurationText};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// SQLite's page. Four KiB is what file systems and disks write at once; larger ones gained nothing.
pub(super) const PAGE_BYTES: u64 = 4096;

/// What a store may hold in memory and on disk, and how long it waits for what.
///
/// Sizes are counted in pages of 4 KiB and rounded down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Store")]
pub struct StoreConfig {
    /// Commands that wait for the writer; a further one is refused as overload. Default 4,096,
    /// four full groups.
    pub pending_max: NonZeroU32,
    /// Bytes of commands that wait for the writer; a command that would go past it is refused as overload.
    /// Default 64 MiB; at least `group_bytes_max`.
    pub pending_bytes_max: ByteSize,
    /// Commands in one durable commit. Default 1,024. A larger group waits longer and syncs less often.
    pub group_max: NonZeroU32,
    /// Bytes of commands in one durable commit, and so of one command: a larger one is refused. Default 8 MiB. What
    /// commands deliver and what they move, which is more than they weigh, is bounded by as much again each: a lease
    /// gets less than it asks for, or waits for the next commit; a command that moves more alone is refused as too
    /// large, and one that does with others as overload.
    pub group_bytes_max: ByteSize,
    /// How long a group waits for the callers of the one before to come back, once one command is there. Never
    /// waited when nobody is expected. Default 150 µs, less than most disks need to sync; `"0s"` commits at once.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub gather: Duration,
    /// Pages that the writer keeps in memory. Default 64 MiB. Pages that one group changes beyond it go to the
    /// write-ahead log before the commit.
    pub cache: ByteSize,
    /// Pages that each reader keeps in memory. Default 8 MiB.
    pub reader_cache: ByteSize,
    /// Connections that read, each with a thread of its own. Default 2.
    pub readers: NonZeroU32,
    /// Reads that wait for a reader; a further one is refused as overload. Default 256.
    pub reads_pending_max: NonZeroU32,
    /// The writer moves pages from the write-ahead log to the database, between two groups, once so much of it
    /// is not moved yet. Default 16 MiB, which takes some tens of milliseconds. More of it means fewer and longer pauses.
    /// As much room again, beside what the log has and up to `wal_max` in all, is reserved on the disk, so that a log
    /// that a crash leaves behind can be copied even on a full one.
    pub checkpoint_after: ByteSize,
    /// The bound of the write-ahead log. It grows past `checkpoint_after` only while a reader needs what is in
    /// it; at this bound the writer waits `reader_wait` for readers to end and cuts the file to nothing, and if one
    /// does not end, the store says that its log is pinned, and writes on. Default 256 MiB; more than
    /// `checkpoint_after`.
    pub wal_max: ByteSize,
    /// How long the writer waits at `wal_max` for readers to end, each time the log grew by `checkpoint_after`
    /// again. Default 100 ms; all writes wait with it.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub reader_wait: Duration,
    /// How long opening and each group wait for another program that has locked the database. Default 5 s.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub busy_wait: Duration,
    /// After so long without a command the writer uses the time: a checkpoint, then free pages back to the file
    /// system. Default 200 ms.
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub idle_after: Duration,
    /// Free pages that the file keeps for what comes next. Default 16 MiB; those above go back when idle.
    pub free_kept: ByteSize,
    /// Free pages that go back to the file system in one idle moment, as one commit that a command may have to
    /// wait for. Default 4 MiB; at least one page.
    pub vacuum_step: ByteSize,
    /// Prepared statements that each connection keeps. Default 128.
    pub statements: NonZeroU32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        let count = |count| NonZeroU32::new(count).expect("defaults are not zero");
        let mebibytes = |count: u64| ByteSize::from_bytes(count << 20);
        Self {
            pending_max: count(4096),
            pending_bytes_max: mebibytes(64),
            group_max: count(1024),
            group_bytes_max: mebibytes(8),
            gather: Duration::from_micros(150),
            cache: mebibytes(64),
            reader_cache: mebibytes(8),
            readers: count(2),
            reads_pending_max: count(256),
            checkpoint_after: mebibytes(16),
            wal_max: mebibytes(256),
            reader_wait: Duration::from_millis(100),
            busy_wait: Duration::from_secs(5),
            idle_after: Duration::from_millis(200),
            free_kept: mebibytes(16),
            vacuum_step: mebibytes(4),
            statements: count(128),
        }
    }
}

impl StoreConfig {
    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// Names the first setting that can not, with its value and the limit.
    pub fn validate(&self) -> Result<(), Invalid> {
        let refuse = |field, problem: String| Err(Invalid::new(field, problem));
        if self.pending_bytes_max < self.group_bytes_max {
            let (pending, group) = (self.pending_bytes_max, self.group_bytes_max);
            return refuse("pending_bytes_max", format!("{pending} is below `group_bytes_max`, {group}"));
        }
        for (field, size) in [
            ("group_bytes_max", self.group_bytes_max),
            ("checkpoint_after", self.checkpoint_after),
            ("vacuum_step", self.vacuum_step),
            ("cache", self.cache),
            ("reader_cache", self.reader_cache),
        ] {
            if pages(size) == 0 {
                return refuse(field, format!("{size} is less than one page of 4KiB"));
            }
            if pages(size) > u64::from(PAGES_MAX) {
                return refuse(field, format!("{size} is more than SQLite can count, 1024GiB"));
            }
        }
        if self.wal_max <= self.checkpoint_after {
            let (wal, after) = (self.wal_max, self.checkpoint_after);
            return refuse("wal_max", format!("{wal} is not above `checkpoint_after`, {after}"));
        }
        if self.readers.get() > 64 {
            return refuse("readers", format!("{} is above 64, the most that is sane", self.readers));
        }
        if self.gather > Duration::from_millis(100) {
            let gather = quantity::format_duration(self.gather);
            return refuse(
                "gather",
                format!("{gather} is above 100ms: every commit may take so much longer"),
            );
        }
        // SQLite counts them in milliseconds of 31 bits, and whoever waits is the writer.
        for (field, wait) in [("reader_wait", self.reader_wait), ("busy_wait", self.busy_wait)] {
            if wait > WAIT_MAX {
                let (wait, limit) = (quantity::format_duration(wait), quantity::format_duration(WAIT_MAX));
                return refuse(
                    field,
                    format!("{wait} is above {limit}, the longest that the writer may wait"),
                );
            }
        }
        if self.idle_after < IDLE_MIN {
            let (idle, limit) =
                (quantity::format_duration(self.idle_after), quantity::format_duration(IDLE_MIN));
            return refuse("idle_after", format!("{idle} is below {limit}: the writer would never rest"));
        }
        Ok(())
    }
}

/// The longest wait for another program.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The shortest rest between two uses of idle time.
const IDLE_MIN: Duration = Duration::from_millis(1);

/// The most pages of one setting: a terabyte.
const PAGES_MAX: u32 = 1 << 28;

/// The whole pages in `size`.
pub(super) fn pages(size: ByteSize) -> u64 {
    size.bytes() / PAGE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_can_not_work_together_are_refused_by_name() {
        let standard = StoreConfig::default();
        standard.validate().expect("the defaults work");
        let size = |text: &str| text.parse::<ByteSize>().expect(text);
        for (field, config) in [
            ("pending_bytes_max", StoreConfig { pending_bytes_max: size("1MiB"), ..standard.clone() }),
            ("vacuum_step", StoreConfig { vacuum_step: size("1KiB"), ..standard.clone() }),
            ("cache", StoreConfig { cache: size("2048GiB"), ..standard.clone() }),
            ("wal_max", StoreConfig { wal_max: standard.checkpoint_after, ..standard.clone() }),
            ("gather", StoreConfig { gather: Duration::from_secs(1), ..standard.clone() }),
            ("readers", StoreConfig { readers: NonZeroU32::MAX, ..standard.clone() }),
            ("reader_wait", StoreConfig { reader_wait: Duration::from_secs(61), ..standard.clone() }),
            ("busy_wait", StoreConfig { busy_wait: Duration::MAX, ..standard.clone() }),
            ("idle_after", StoreConfig { idle_after: Duration::ZERO, ..standard.clone() }),
        ] {
            assert_eq!(config.validate().expect_err(field).field, field);
        }
    }

    #[test]
    fn settings_are_written_and_read_as_text_and_an_unknown_one_is_an_error() {
        let standard = StoreConfig::default();
        let text = serde_json::to_string(&standard).expect("serializes");
        assert_eq!(serde_json::from_str::<StoreConfig>(&text).expect("round trip"), standard);
        assert_eq!(serde_json::from_str::<StoreConfig>("{}").expect("empty"), standard);
        serde_json::from_str::<StoreConfig>(r#"{"pending":1}"#).expect_err("unknown key");
    }
}
