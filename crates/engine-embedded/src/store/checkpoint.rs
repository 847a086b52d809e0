//! When pages move from the write-ahead log to the database.

use rusqlite::Connection;

use super::config::{StoreConfig, pages};

/// How hard a checkpoint tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Does nothing but look.
    Look,
    /// Moves what no reader needs, and waits for nobody.
    Passive,
    /// Waits for readers, and cuts the log to nothing.
    Truncate,
}

/// The write-ahead log, in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wal {
    /// Pages in it.
    pub(super) pages: u64,
    /// Those of them that are in the database already.
    pub(super) moved: u64,
    /// Someone did not let go of it.
    pub(super) busy: bool,
}

impl Wal {
    /// Pages that are not in the database yet.
    pub(super) fn unmoved(self) -> u64 {
        self.pages.saturating_sub(self.moved)
    }
}

/// Moves pages from the log to the database as `mode` says, with the log and then the database synced.
pub(super) fn checkpoint(connection: &Connection, mode: Mode) -> rusqlite::Result<Wal> {
    let statement = match mode {
        Mode::Look => "PRAGMA wal_checkpoint(NOOP)",
        Mode::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        Mode::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    let count = |pages: i64| u64::try_from(pages).unwrap_or(0);
    connection.prepare_cached(statement)?.query_row([], |row| {
        Ok(Wal { busy: row.get(0)?, pages: count(row.get(1)?), moved: count(row.get(2)?) })
    })
}

/// Decides between two groups whether the writer moves pages now.
#[derive(Debug)]
pub(super) struct Schedule {
    after: u64,
    most: u64,
    /// The length of the log at the last attempt. While a reader keeps pages from being moved, the next attempt
    /// waits until the log has grown by `after` again, else each group would pay for one.
    tried_at: Option<u64>,
}

impl Schedule {
    pub(super) fn new(config: &StoreConfig) -> Self {
        Self { after: pages(config.checkpoint_after), most: pages(config.wal_max), tried_at: None }
    }

    /// What is due for a log as `wal`.
    pub(super) fn due(&mut self, wal: Wal) -> Option<Mode> {
        // A shorter log was started anew.
        self.tried_at = self.tried_at.filter(|tried_at| *tried_at <= wal.pages);
        let is_long = self.is_long(wal);
        let is_patient = self.tried_at.is_some_and(|tried_at| wal.pages - tried_at < self.after);
        if is_patient || !(is_long || wal.unmoved() >= self.after) {
            return None;
        }
        self.tried_at = Some(wal.pages);
        Some(if is_long { Mode::Truncate } else { Mode::Passive })
    }

    /// Whether the log has reached its bound.
    pub(super) fn is_long(&self, wal: Wal) -> bool {
        wal.pages >= self.most
    }

    /// Whether someone keeps the log, left as `wal` by an attempt, past its bound.
    pub(super) fn is_pinned(&self, wal: Wal) -> bool {
        self.is_long(wal) && (wal.busy || wal.unmoved() > 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(after: u64, most: u64) -> Schedule {
        Schedule { after, most, tried_at: None }
    }

    fn wal(pages: u64, moved: u64) -> Wal {
        Wal { pages, moved, busy: false }
    }

    #[test]
    fn a_log_that_nobody_reads_is_moved_each_time_it_reaches_its_length() {
        let mut schedule = schedule(10, 100);
        for _ in 0..3 {
            assert_eq!(schedule.due(wal(9, 0)), None);
            assert_eq!(schedule.due(wal(10, 0)), Some(Mode::Passive));
            assert_eq!(schedule.due(wal(10, 10)), None);
        }
    }

    #[test]
    fn a_pinned_log_is_tried_again_only_when_it_has_grown_and_waited_for_at_its_bound() {
        let mut schedule = schedule(10, 30);
        let due: Vec<_> = (0..45).filter_map(|pages| Some((pages, schedule.due(wal(pages, 0))?))).collect();
        let expected = [(10, Mode::Passive), (20, Mode::Passive), (30, Mode::Truncate), (40, Mode::Truncate)];
        assert_eq!(due, expected);
        assert!(schedule.is_pinned(wal(40, 0)) && !schedule.is_pinned(wal(40, 40)));
    }

    proptest! {
        #[test]
        fn while_nobody_pins_it_the_log_never_reaches_twice_its_length_and_a_group(
            groups in proptest::collection::vec(1_u64..8, 1..200),
        ) {
            let mut schedule = schedule(10, 100);
            let mut log = wal(0, 0);
            for group in groups {
                // SQLite starts a log anew whose pages have all been moved.
                log = if log.unmoved() == 0 { wal(group, 0) } else { wal(log.pages + group, log.moved) };
                if schedule.due(log).is_some() {
                    log.moved = log.pages;
                }
                prop_assert!(log.pages < 2 * 10 + 8, "{log:?}");
            }
        }
    }
}
