//! The data directory as the process has it: opened, perhaps after the process before has closed it, and closed
//! before the process after opens it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use intertie_core::clock::WallClock;
use intertie_core::telemetry::{Events, Snapshot, Source};
use intertie_engine_embedded::store::{Health, OpenError};
use intertie_engine_embedded::{Embedded, EmbeddedConfig};
use intertie_messaging::queue::{QueueEngine, QueueSpec};
use intertie_messaging::{DeclareError, Listing, Name};
use tokio::sync::watch;
use tokio::time::Instant;

/// How often a directory is tried that the process before has not closed yet.
const TRY_EVERY: Duration = Duration::from_millis(10);

/// How long whoever uses the engine has to let go of it.
const LET_GO: Duration = Duration::from_secs(5);

/// What a queue is to be, in the order in which queues can be declared.
pub(crate) type Queues = Vec<(Name, QueueSpec)>;

/// The data directory of this process; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    state: Arc<watch::Sender<State>>,
    /// Queues that could not be declared when the process before was gone.
    refused: Arc<Mutex<BTreeSet<Name>>>,
    events: Events,
}

#[derive(Debug, Clone)]
enum State {
    /// The process before has it still.
    Opening,
    Open(Arc<Embedded>),
    Closed,
    /// It could not be opened.
    Failed(Arc<str>),
}

/// Why there is no engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Absent {
    /// The process before did not close the directory in time; it is worth another try.
    Opening,
    /// This process has closed it; another one may serve it.
    Closed,
    /// It could not be opened.
    Failed(Arc<str>),
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opening => f.write_str("the process before has not closed the data directory yet"),
            Self::Closed => f.write_str("this process makes room for another, or ends"),
            Self::Failed(cause) => write!(f, "the data directory could not be opened: {cause}"),
        }
    }
}

/// Why queues are not as the file says.
#[derive(Debug)]
pub(crate) enum Undeclared {
    /// This one can not be what the file says.
    Queue(Name, DeclareError),
    /// The directory is not there.
    Absent(Absent),
}

impl Store {
    /// Opens the directory and declares the queues of the file.
    ///
    /// # Errors
    /// Why it can not be opened, or which queue can not be declared. Those before it are declared then.
    pub(crate) fn open(
        directory: &Path,
        queues: &Queues,
        events: &Events,
    ) -> Result<Result<Self, Undeclared>, OpenError> {
        let engine = open(directory, events)?;
        Ok(match block_on(declare(&engine, queues)) {
            Ok(()) => Ok(Self::new(State::Open(Arc::new(engine)), events)),
            Err(undeclared) => Err(undeclared),
        })
    }

    /// Opens the directory as soon as the process before has closed it. What can not be opened or declared then is
    /// told and not refused: the process before is gone.
    pub(crate) fn open_after_another(directory: PathBuf, queues: Queues, events: &Events) -> Self {
        let store = Self::new(State::Opening, events);
        let opening = store.clone();
        let thread = std::thread::Builder::new().name("store-opening".to_owned());
        let started = thread.spawn(move || opening.keep_trying(&directory, &queues));
        if let Err(error) = started {
            store.fail(&format!("no thread can be started: {error}"));
        }
        store
    }

    fn new(state: State, events: &Events) -> Self {
        Self { state: Arc::new(watch::Sender::new(state)), refused: Arc::default(), events: events.clone() }
    }

    fn keep_trying(&self, directory: &Path, queues: &Queues) {
        loop {
            if !matches!(*self.state.borrow(), State::Opening) {
                return;
            }
            match open(directory, &self.events) {
                Err(OpenError::InUse { .. }) => std::thread::sleep(TRY_EVERY),
                Err(error) => return self.fail(&format!("{:#}", anyhow::Error::new(error))),
                Ok(engine) => {
                    block_on(self.declare_each(&engine, queues));
                    let engine = State::Open(Arc::new(engine));
                    // Whoever closed it meanwhile has it closed: the engine is dropped here.
                    let opened = self.state.send_if_modified(|state| {
                        let waits = matches!(state, State::Opening);
                        if waits {
                            *state = engine;
                        }
                        waits
                    });
                    if opened {
                        self.events
                            .tell("store_opened", || vec![("directory", directory.display().to_string())]);
                    }
                    return;
                }
            }
        }
    }

    fn fail(&self, cause: &str) {
        self.state.send_replace(State::Failed(cause.into()));
        self.events.tell("store_failed", || vec![("cause", cause.to_owned())]);
    }

    fn tell_refused(&self, name: &Name, error: &DeclareError) {
        self.events.tell("queue_refused", || vec![("queue", name.to_string()), ("cause", error.to_string())]);
    }

    /// The engine, which whoever opens it is waited for, at most for `patience`.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn engine(&self, patience: Duration) -> Result<Arc<Embedded>, Absent> {
        if let State::Open(engine) = &*self.state.borrow() {
            return Ok(Arc::clone(engine));
        }
        let mut state = self.state.subscribe();
        let opened = state.wait_for(|state| !matches!(state, State::Opening));
        match tokio::time::timeout(patience, opened).await {
            Ok(Ok(state)) => match &*state {
                State::Open(engine) => Ok(Arc::clone(engine)),
                State::Failed(cause) => Err(Absent::Failed(Arc::clone(cause))),
                State::Closed | State::Opening => Err(Absent::Closed),
            },
            Ok(Err(_)) => Err(Absent::Closed),
            Err(_) => Err(Absent::Opening),
        }
    }

    /// Whether the directory takes writes, while it is open.
    pub(crate) fn health(&self) -> Option<Health> {
        match &*self.state.borrow() {
            State::Open(engine) => Some(engine.health()),
            State::Opening | State::Closed | State::Failed(_) => None,
        }
    }

    /// Why writes are not taken; nothing while they are.
    pub(crate) fn problem(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Opening => Some("the process before has the data directory still".to_owned()),
            State::Closed => Some("the data directory is closed".to_owned()),
            State::Failed(cause) => Some(cause.to_string()),
            State::Open(engine) => match engine.health() {
                Health::Serving { .. } => None,
                Health::Failed { cause } => Some(format!("{:#}", anyhow::Error::new(cause))),
            },
        }
    }

    /// Who keeps the write-ahead log past its bound, if anyone does.
    pub(crate) fn pinned_by(&self) -> Option<String> {
        match self.health() {
            Some(Health::Serving { wal_pinned }) => wal_pinned.map(|pin| pin.to_string()),
            Some(Health::Failed { .. }) | None => None,
        }
    }

    /// What of the directory can not be read, of which all else goes on.
    pub(crate) fn damages(&self) -> Vec<String> {
        match &*self.state.borrow() {
            State::Open(engine) => engine.damages().iter().map(ToString::to_string).collect(),
            State::Opening | State::Closed | State::Failed(_) => Vec::new(),
        }
    }

    /// Declares what can be: a queue that can not is told and tried again with each reload, and keeps no other from it.
    async fn declare_each(&self, engine: &Embedded, queues: &Queues) {
        let mut refused = BTreeSet::new();
        for (name, spec) in queues {
            if let Err(error) = engine.declare_queue(name, spec).await {
                self.tell_refused(name, &error);
                refused.insert(name.clone());
            }
        }
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }

    /// Makes the queues what `fresh` says, also those that the directory has no more. Where one of them can not be that, those before it become what `running`
    /// says again; one that is new stays, and may be empty.
    ///
    /// # Errors
    /// Which one can not, and why.
    pub(crate) async fn redeclare(&self, running: &Queues, fresh: &Queues) -> Result<(), Undeclared> {
        let refused = std::mem::take(&mut *self.refused.lock().unwrap_or_else(PoisonError::into_inner));
        let engine = self.engine(LET_GO).await.map_err(Undeclared::Absent)?;
        let mut changed = Queues::new();
        for (name, spec) in fresh {
            let is_as_before = running.iter().any(|(before, was)| before == name && was == spec);
            let is_there = is_as_before && engine.depth(name).await.is_ok();
            if !is_there && !refused.contains(name) {
                changed.push((name.clone(), spec.clone()));
            }
        }
        if let Err(undeclared) = declare(&engine, &changed).await {
            let is_changed = |name: &Name| changed.iter().any(|(changed, _)| changed == name);
            let before: Queues = running.iter().filter(|(name, _)| is_changed(name)).cloned().collect();
            // They were this a moment ago; what they became meanwhile may keep one from it, and it is told.
            if let Err(Undeclared::Queue(name, error)) = declare(&engine, &before).await {
                self.tell_refused(&name, &error);
            }
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
            return Err(undeclared);
        }
        // Whether they can be now what they could not be is no matter of this change.
        let again: Queues = fresh.iter().filter(|(name, _)| refused.contains(name)).cloned().collect();
        self.declare_each(&engine, &again).await;
        Ok(())
    }

    /// The queues of the directory that `declared` does not name, nor as where dead letters go; the first of them.
    pub(crate) async fn undeclared(&self, declared: &Queues) -> Vec<Name> {
        let Ok(engine) = self.engine(Duration::ZERO).await else { return Vec::new() };
        let most = 1000.try_into().expect("1000 is not zero");
        let Ok(names) = engine.queues(&Listing { after: None, most }).await else { return Vec::new() };
        let is_declared = |name: &Name| {
            declared.iter().any(|(declared, _)| {
                let own = name.as_str().strip_suffix(".dead");
                declared == name || own == Some(declared.as_str())
            })
        };
        names.into_iter().filter(|name| !is_declared(name)).collect()
    }

    /// Commits what was asked for and closes the directory, once nobody uses it; at the latest after some seconds, in
    /// which whoever still waits for it is let down.
    pub(crate) async fn close(&self) {
        let State::Open(engine) = self.state.send_replace(State::Closed) else { return };
        let end = Instant::now() + LET_GO;
        while Arc::strong_count(&engine) > 1 && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // It commits before it is gone, which takes as long as the disk takes.
        let _ = tokio::task::spawn_blocking(move || drop(engine)).await;
    }
}

impl Source for Store {
    fn read(&self, snapshot: &mut Snapshot) {
        if let State::Open(engine) = &*self.state.borrow() {
            engine.read(snapshot);
        }
    }
}

fn open(directory: &Path, events: &Events) -> Result<Embedded, OpenError> {
    Embedded::open(directory, &EmbeddedConfig::default(), WallClock::system(), events.clone())
}

async fn declare(engine: &Embedded, queues: &Queues) -> Result<(), Undeclared> {
    for (name, spec) in queues {
        let declared = engine.declare_queue(name, spec).await;
        declared.map_err(|error| Undeclared::Queue(name.clone(), error))?;
    }
    Ok(())
}

/// Waits for what the store's own thread answers, where there is no runtime yet.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime without sockets asks the system for nothing").block_on(future)
}
