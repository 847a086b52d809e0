//! The one thread that writes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::quantity::ByteSize;
use rusqlite::Connection;

use super::checkpoint::{Mode, Schedule, Wal, checkpoint};
use super::config::{StoreConfig, pages};
use super::failure::{Failure, Step};
use super::gather::Gather;
use super::group::{self, Verdict};
use super::mailbox::{Portion, Waited};
use super::pin::WalPin;
use super::shared::{Envelope, Shared};
use super::state::State;
use super::submit_error::SubmitError;

/// What is asked of the writer by its settings.
#[derive(Debug, Clone)]
struct Limits {
    portion: Portion,
    gather: Duration,
    idle_after: Duration,
    busy_wait: Duration,
    reader_wait: Duration,
    free_kept: u64,
    vacuum_step: u64,
}

/// The thread's own: the connection, the state, and what it learned of its callers.
pub(super) struct Writer<S: State> {
    connection: Connection,
    state: S,
    shared: Arc<Shared<S>>,
    clock: WallClock,
    limits: Limits,
    schedule: Schedule,
    gather: Gather,
    /// Who was answered last, and how many waited then.
    last: (usize, usize),
    data_version: i64,
    now: Timestamp,
    /// The shared memory of the connections, on which readers have locks.
    shm: PathBuf,
}

impl<S: State> Writer<S> {
    pub(super) fn new(
        connection: Connection,
        load: impl FnOnce(&Connection) -> rusqlite::Result<S>,
        shared: Arc<Shared<S>>,
        clock: WallClock,
        config: &StoreConfig,
        shm: PathBuf,
    ) -> rusqlite::Result<Self> {
        // Before the state is loaded, so that what another program writes while it is shows at the first group.
        let data_version = group::data_version(&connection)?;
        let state = load(&connection)?;
        let bytes = |size: ByteSize| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
        let limits = Limits {
            portion: Portion { items: config.group_max.get() as usize, bytes: bytes(config.group_bytes_max) },
            gather: config.gather,
            idle_after: config.idle_after,
            busy_wait: config.busy_wait,
            reader_wait: config.reader_wait,
            free_kept: pages(config.free_kept),
            vacuum_step: pages(config.vacuum_step),
        };
        Ok(Self {
            connection,
            state,
            shared,
            clock,
            limits,
            schedule: Schedule::new(config),
            gather: Gather::new(),
            last: (0, 0),
            data_version,
            now: Timestamp::from_unix_seconds(0),
            shm,
        })
    }

    /// Writes until the mailbox is closed and empty, or something fails.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let Err(cause) = self.serve() else { return };
        // No file of the database is written from here on: the connection closes without a checkpoint.
        shared.fail(&cause);
        while let Waited::Items(count) = shared.mailbox.wait(None) {
            for envelope in shared.mailbox.take(Portion { items: count, bytes: usize::MAX }) {
                // A caller who left needs no answer.
                let _ = envelope.answer.send(Err(SubmitError::Unavailable(cause.clone())));
            }
        }
    }

    fn serve(&mut self) -> Result<(), Failure> {
        let mut idle_after = Some(self.limits.idle_after);
        loop {
            match self.shared.mailbox.wait(idle_after) {
                Waited::Items(_) => {
                    let envelopes = self.next_group();
                    self.write(envelopes)?;
                    self.checkpoint_if_due()?;
                    idle_after = Some(self.limits.idle_after);
                }
                Waited::Idle => {
                    let has_more = self.use_idle_time()?;
                    idle_after = has_more.then_some(self.limits.idle_after);
                }
                Waited::Closed => {
                    let emptied = checkpoint(&self.connection, Mode::Truncate);
                    return emptied.map(|_| ()).map_err(|source| Failure::sqlite(Step::Checkpoint, source));
                }
            }
        }
    }

    fn next_group(&mut self) -> Vec<Envelope<S>> {
        let mailbox = &self.shared.mailbox;
        if !self.limits.gather.is_zero() {
            let (answered, waiting) = self.last;
            let target = self.gather.target(answered, waiting).min(self.limits.portion.items);
            if target > 1 {
                let gathered = mailbox.gather(target, self.limits.gather);
                self.gather.observe(waiting, target, gathered);
            }
        }
        mailbox.take(self.limits.portion)
    }

    /// Applies a group, commits it, and answers all of it.
    fn write(&mut self, envelopes: Vec<Envelope<S>>) -> Result<(), Failure> {
        let (commands, answers): (Vec<_>, Vec<_>) =
            envelopes.into_iter().map(|envelope| (envelope.command, envelope.answer)).unzip();
        // Wall clocks jump back; what is stored is never older than what was stored before it.
        self.now = self.now.max(self.clock.now());
        let (connection, state) = (&self.connection, &mut self.state);
        let (data_version, now) = (self.data_version, self.now);
        let applied = unwinding(Step::Apply, || group::apply(connection, state, commands, data_version, now));
        let verdicts = match applied {
            Ok(verdicts) => verdicts,
            Err(failure) => {
                self.shared.fail(&failure);
                for answer in answers {
                    let _ = answer.send(Err(SubmitError::Unavailable(failure.clone())));
                }
                return Err(failure);
            }
        };
        if let Err(failure) = group::commit(connection) {
            self.shared.fail(&failure);
            for (verdict, answer) in verdicts.into_iter().zip(answers) {
                let error = match verdict {
                    Verdict::Applied(_) => SubmitError::Unknown(failure.clone()),
                    Verdict::Refused(_) => SubmitError::Unavailable(failure.clone()),
                };
                let _ = answer.send(Err(error));
            }
            return Err(failure);
        }
        let published = unwinding(Step::Apply, || {
            state.committed();
            Ok(())
        });
        self.last = (answers.len(), self.shared.mailbox.len());
        let refused = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Refused(_))).count() as u64;
        self.shared.counters.committed(verdicts.len() as u64 - refused, refused);
        for (verdict, answer) in verdicts.into_iter().zip(answers) {
            let _ = answer.send(match verdict {
                Verdict::Applied(reply) => Ok(reply),
                Verdict::Refused(refusal) => Err(SubmitError::Refused(refusal)),
            });
        }
        published
    }

    fn checkpoint_if_due(&mut self) -> Result<(), Failure> {
        let wal = self.look()?;
        match self.schedule.due(wal) {
            None => Ok(()),
            Some(Mode::Truncate) => self.checkpoint(Mode::Truncate, self.limits.reader_wait),
            Some(mode) => self.checkpoint(mode, Duration::ZERO),
        }
    }

    /// Does one thing that would delay commands, and says whether there may be another.
    fn use_idle_time(&mut self) -> Result<bool, Failure> {
        let wal = self.look()?;
        let mode = match () {
            () if wal.unmoved() > 0 => Mode::Passive,
            () if self.schedule.is_long(wal) => Mode::Truncate,
            () => {
                let given =
                    group::give_back(&self.connection, self.limits.free_kept, self.limits.vacuum_step);
                return given.map_err(|source| Failure::sqlite(Step::Vacuum, source));
            }
        };
        // What a reader keeps it from is tried again: nobody tells when the reader ends.
        self.checkpoint(mode, Duration::ZERO).map(|()| true)
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

/// Runs code that others wrote, and makes a failure of its panic.
fn unwinding<T>(during: Step, run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    // What the panic left half done goes with it: the transaction is rolled back, and the state dropped.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(Failure::Panicked { during }))
}
