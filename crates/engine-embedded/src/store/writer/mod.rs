//! The one thread that writes.

mod group;
mod upkeep;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::quantity::ByteSize;
use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::checkpoint::{Mode, Schedule, checkpoint};
use super::config::{StoreConfig, pages};
use super::defect::Defect;
use super::directory::Directory;
use super::failure::{Failure, Step};
use super::gather::Gather;
use super::mailbox::{Portion, Waited};
use super::reserve::Reserve;
use super::shared::{Outcome, Shared};
use super::state::State;
use super::submit_error::SubmitError;
use super::time::{Clock, until};

/// The longest sleep before something that is due: the wall clock may jump ahead meanwhile, and nobody says so.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// The pause before a state is asked again to do what it did not do, or not all of it.
const DUE_AGAIN: Duration = Duration::from_millis(1);

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
    clock: Clock,
    limits: Limits,
    schedule: Schedule,
    reserve: Reserve,
    gather: Gather,
    /// Who was answered last, and how many waited then.
    last: (usize, usize),
    data_version: i64,
    /// What it is doing, for whoever has to say what a panic interrupted.
    step: Step,
    /// Where the answers of the group under way go.
    answers: Vec<Option<oneshot::Sender<Outcome<S>>>>,
    /// What was due when the state was last asked to do it, and when that was.
    asked: Option<(Timestamp, Instant)>,
    /// The shared memory of the connections, on which readers have locks.
    shm: PathBuf,
    defect: Option<Defect>,
}

impl<S: State> Writer<S> {
    pub(super) fn new(
        connection: Connection,
        load: impl FnOnce(&Connection) -> rusqlite::Result<S>,
        shared: Arc<Shared<S>>,
        clock: WallClock,
        config: &StoreConfig,
        directory: &Directory,
        defect: Option<Defect>,
    ) -> rusqlite::Result<Self> {
        // Before the state is loaded, so that what another program writes while it is shows at the first group.
        let data_version = group::data_version(&connection)?;
        let clock = Clock::load(clock, &connection)?;
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
        let mut writer = Self {
            connection,
            state,
            shared,
            clock,
            limits,
            schedule: Schedule::new(config),
            reserve: Reserve::new(directory.reserve(), config),
            gather: Gather::new(),
            last: (0, 0),
            data_version,
            step: Step::Wait,
            answers: Vec::new(),
            asked: None,
            shm: directory.shm(),
            defect,
        };
        writer.keep_reserve(0, true);
        Ok(writer)
    }

    /// Writes until the mailbox is closed and empty, or something fails, or panics.
    pub(super) fn run(mut self) {
        let served = catch_unwind(AssertUnwindSafe(|| self.serve()));
        let Err(cause) = served.unwrap_or(Err(Failure::Panicked { during: self.step })) else { return };
        // No file of the database is written from here on: the connection closes without a checkpoint.
        self.shared.fail(&cause);
        for answer in self.answers.drain(..).flatten() {
            // Only a panic leaves them here. A caller who left needs no answer.
            let _ = answer.send(Err(match self.step {
                Step::Commit | Step::Answer => SubmitError::Unknown(cause.clone()),
                _ => SubmitError::Unavailable(cause.clone()),
            }));
        }
        let shared = Arc::clone(&self.shared);
        // A command may panic even as it is dropped; each turn takes some, so this ends.
        while catch_unwind(AssertUnwindSafe(|| refuse_all(&shared, &cause))).is_err() {}
    }

    fn serve(&mut self) -> Result<(), Failure> {
        let mut idle_at = Some(Instant::now() + self.limits.idle_after);
        loop {
            self.enter(Step::Wait);
            let due_at = self.due_at();
            let wake_at = due_at.into_iter().chain(idle_at).min();
            match self.shared.mailbox.wait(wake_at.map(|at| at.saturating_duration_since(Instant::now()))) {
                Waited::Items(_) => {
                    let envelopes = self.next_group();
                    self.write(envelopes)?;
                    self.checkpoint_if_due()?;
                    idle_at = Some(Instant::now() + self.limits.idle_after);
                }
                Waited::Idle if is_over(due_at) => {
                    self.write(Vec::new())?;
                    self.checkpoint_if_due()?;
                    idle_at = idle_at.or_else(|| Some(Instant::now() + self.limits.idle_after));
                }
                Waited::Idle if is_over(idle_at) => {
                    let has_more = self.use_idle_time()?;
                    idle_at = has_more.then(|| Instant::now() + self.limits.idle_after);
                }
                Waited::Idle => {}
                Waited::Closed => {
                    self.enter(Step::Checkpoint);
                    let emptied = checkpoint(&self.connection, Mode::Truncate);
                    return emptied.map(|_| ()).map_err(|source| Failure::sqlite(Step::Checkpoint, source));
                }
            }
        }
    }

    /// When the state is to be asked for what is due, or the time is to be looked at again.
    fn due_at(&mut self) -> Option<Instant> {
        let due = self.state.next_due()?;
        let now = self.clock.now();
        let at = Instant::now() + until(now, due).min(SLEEP_MAX);
        let again = self.asked.filter(|(asked, _)| *asked == due).map(|(_, at)| at + DUE_AGAIN);
        Some(again.map_or(at, |again| again.max(at)))
    }

    /// Notes what is done from here on.
    fn enter(&mut self, step: Step) {
        self.step = step;
        assert!(self.defect != Some(Defect::Panics(step)), "a defect that a test seeded");
    }
}

fn is_over(moment: Option<Instant>) -> bool {
    moment.is_some_and(|moment| moment <= Instant::now())
}

fn refuse_all<S: State>(shared: &Shared<S>, cause: &Failure) {
    while let Waited::Items(count) = shared.mailbox.wait(None) {
        for envelope in shared.mailbox.take(Portion { items: count, bytes: usize::MAX }) {
            if let Some(answer) = envelope.answer {
                // A caller who left needs no answer.
                let _ = answer.send(Err(SubmitError::Unavailable(cause.clone())));
            }
        }
    }
}
