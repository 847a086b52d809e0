//! What the writer does between groups: it keeps the log short, room for the next opening, and gives room back.

use std::time::Duration;

use rusqlite::Connection;

use super::super::checkpoint::{Mode, Wal, checkpoint};
use super::super::config::PAGE_BYTES;
use super::super::failure::{Failure, Step};
use super::super::pin::WalPin;
use super::super::reserve::Kept;
use super::super::state::State;
use super::Writer;

/// A page in the log has a header of its own.
const FRAME_BYTES: u64 = PAGE_BYTES + 24;

impl<S: State> Writer<S> {
    pub(super) fn checkpoint_if_due(&mut self) -> Result<(), Failure> {
        self.enter(Step::Checkpoint);
        let wal = self.look()?;
        self.keep_reserve(wal.pages * FRAME_BYTES, false);
        match self.schedule.due(wal) {
            None => Ok(()),
            Some(Mode::Truncate) => self.checkpoint(Mode::Truncate, self.limits.reader_wait),
            Some(mode) => self.checkpoint(mode, Duration::ZERO),
        }
    }

    /// Does one thing that would delay commands, and says whether there may be another.
    pub(super) fn use_idle_time(&mut self) -> Result<bool, Failure> {
        self.enter(Step::Checkpoint);
        let wal = self.look()?;
        self.keep_reserve(wal.pages * FRAME_BYTES, true);
        let mode = match () {
            () if wal.unmoved() > 0 => Mode::Passive,
            () if self.schedule.is_long(wal) => Mode::Truncate,
            () => {
                self.enter(Step::Vacuum);
                let given = give_back(&self.connection, self.limits.free_kept, self.limits.vacuum_step);
                return given.map_err(|source| Failure::sqlite(Step::Vacuum, source));
            }
        };
        // What a reader keeps it from is tried again: nobody tells when the reader ends.
        self.checkpoint(mode, Duration::ZERO).map(|()| true)
    }

    /// Sees to it that the next opening has room to copy a log of `log` bytes. Without it the store goes on, and says
    /// so: commands that take something away make room.
    pub(super) fn keep_reserve(&mut self, log: u64, is_idle: bool) {
        let kept = self.reserve.keep_ahead(log, is_idle);
        let bytes = self.reserve.bytes();
        self.shared.counters.reserve(bytes);
        let events = &self.shared.events;
        match kept {
            Kept::AsBefore => {}
            Kept::Whole => events.tell("store_reserve_whole", || vec![("bytes", bytes.to_string())]),
            Kept::Short(error) => events.tell("store_reserve_short", || {
                vec![("bytes", bytes.to_string()), ("cause", error.to_string())]
            }),
        }
    }

    fn look(&self) -> Result<Wal, Failure> {
        let wal = self.moved(Mode::Look)?;
        if !self.schedule.is_pinned(wal) {
            self.note_pin(None, wal);
        }
        Ok(wal)
    }

    /// Moves pages to the database, and waits at most so long for each reader that is in the way.
    fn checkpoint(&self, mode: Mode, wait: Duration) -> Result<(), Failure> {
        self.wait_at_most(wait)?;
        let wal = self.moved(mode)?;
        self.wait_at_most(self.limits.busy_wait)?;
        self.shared.counters.checkpointed();
        self.note_pin(self.schedule.is_pinned(wal).then(|| WalPin::look_up(&self.shm)), wal);
        Ok(())
    }

    fn moved(&self, mode: Mode) -> Result<Wal, Failure> {
        let wal =
            checkpoint(&self.connection, mode).map_err(|source| Failure::sqlite(Step::Checkpoint, source))?;
        self.shared.counters.wal(wal);
        Ok(wal)
    }

    fn note_pin(&self, pin: Option<WalPin>, wal: Wal) {
        let (name, by) = match &pin {
            Some(pin) => ("store_wal_pinned", pin.to_string()),
            None => ("store_wal_released", String::new()),
        };
        if self.shared.counters.pinned(pin) {
            self.shared.events.tell(name, || vec![("processes", by), ("pages", wal.pages.to_string())]);
        }
    }

    fn wait_at_most(&self, wait: Duration) -> Result<(), Failure> {
        self.connection.busy_timeout(wait).map_err(|source| Failure::sqlite(Step::Checkpoint, source))
    }
}

/// Gives up to `most` of the free pages above `kept` back to the file system, and says whether there were any.
fn give_back(connection: &Connection, kept: u64, most: u64) -> rusqlite::Result<bool> {
    let free: u32 = connection.prepare_cached("PRAGMA freelist_count")?.query_row([], |row| row.get(0))?;
    let pages = u64::from(free).saturating_sub(kept).min(most);
    if pages == 0 {
        return Ok(false);
    }
    // Each row is a page that was given back.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut given = statement.query([])?;
    while given.next()?.is_some() {}
    Ok(true)
}
