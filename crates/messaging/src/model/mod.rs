//! A naive engine in memory that does exactly what the ports say: the reference for other engines, and a stand-in
//! for one in your own tests.
//!
//! Lists that are looked through from the beginning, behind one lock: slow and easy to believe. Its receipts say
//! one copy and none synced, so a specification that asks for more is refused; ask for
//! [`Durability::UNSYNCED`](crate::Durability::UNSYNCED). What outlasts the process elsewhere outlasts
//! [`Model::restart`] here.
//!
//! Time is tokio's, counted from the moment that a [`WallClock`] shows when the model is made: in a test that
//! pauses it, an hour passes in no time.
//!
//! ```
//! use std::num::NonZeroU32;
//! use std::time::Duration;
//!
//! use intertie_core::clock::WallClock;
//! use intertie_core::envelope::Envelope;
//! use intertie_core::quantity::ByteSize;
//! use intertie_messaging::commit::Operation;
//! use intertie_messaging::model::Model;
//! use intertie_messaging::queue::{LeaseRequest, QueueEngine, QueueSpec};
//! use intertie_messaging::{Durability, Engine};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Model::new(&WallClock::system());
//! let queue = "orders".parse()?;
//! let spec = QueueSpec { durability: Durability::UNSYNCED, ..QueueSpec::default() };
//! engine.declare_queue(&queue, &spec).await?;
//! let message = Envelope::new("1", "/shop", "order.created")?.into();
//! engine.commit(Operation::Send { queue: queue.clone(), message }.into()).await?;
//! let request = LeaseRequest {
//!     queue,
//!     consumer: "packer".parse()?,
//!     most: NonZeroU32::MIN,
//!     bytes_max: ByteSize::from_bytes(1 << 20),
//!     visibility_timeout: None,
//!     wait: Duration::ZERO,
//! };
//! assert_eq!(engine.lease(&request).await?.len(), 1);
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(example()).unwrap();
//! ```

mod bug;
mod commit;
mod engine;
mod queue;
mod requests;
mod state;
mod topic;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock};
use tokio::sync::Notify;
use tokio::time::Instant;

pub use bug::Bug;
use queue::after;
use state::State;

use crate::Durability;
use crate::support::{EngineId, Feature, Refusal, Support};

/// All ports, in memory.
#[derive(Debug)]
pub struct Model {
    id: EngineId,
    /// Keys of promises that it was told not to keep.
    refused: Vec<&'static str>,
    bug: Option<Bug>,
    began: (Timestamp, Instant),
    state: Mutex<State>,
    changed: Notify,
}

impl Model {
    /// An empty one, whose time goes on from what `clock` shows now.
    pub fn new(clock: &WallClock) -> Self {
        Self {
            id: EngineId { name: "model", version: env!("CARGO_PKG_VERSION").to_owned() },
            refused: Vec::new(),
            bug: None,
            began: (clock.now(), Instant::now()),
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// The same, which refuses the promises of these keys as an engine does that can not keep them. `commit` stands
    /// for commits of several kinds of operations.
    #[must_use]
    pub fn refusing(mut self, keys: impl IntoIterator<Item = &'static str>) -> Self {
        self.refused.extend(keys);
        self
    }

    /// The same with a mistake.
    #[must_use]
    pub fn with_bug(mut self, bug: Bug) -> Self {
        self.bug = Some(bug);
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner).bug = Some(bug);
        self
    }

    /// Leaves what the end of its process would: what is `durable`, and no session of a group.
    pub fn restart(&self) {
        self.changing(State::restart);
    }

    /// What its clock shows.
    pub fn now(&self) -> Timestamp {
        after(self.began.0, self.began.1.elapsed())
    }

    /// When `moment` is, by tokio's clock; `None` when that is further away than it reaches.
    fn instant(&self, moment: Timestamp) -> Option<Instant> {
        let since = moment.as_unix_nanos().saturating_sub(self.began.0.as_unix_nanos());
        self.began.1.checked_add(Duration::from_nanos(since))
    }

    /// The state as it is now.
    fn state(&self) -> (MutexGuard<'_, State>, Timestamp) {
        let now = self.now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pass(now);
        (state, now)
    }

    fn changing<T>(&self, change: impl FnOnce(&mut State, Timestamp) -> T) -> T {
        let (mut state, now) = self.state();
        let result = change(&mut state, now);
        drop(state);
        if self.bug != Some(Bug::SleepThroughChange) {
            self.changed.notify_waiters();
        }
        result
    }

    /// Asks again whenever something changed or became due, until there is an answer or `wait` is over. `ask` says
    /// when something will be due.
    async fn wait_for<T>(
        &self,
        wait: Duration,
        mut ask: impl FnMut(&mut State, Timestamp) -> Result<T, (T, Option<Timestamp>)>,
    ) -> T {
        let end = Instant::now().checked_add(wait);
        let end = end.filter(|_| wait.is_zero() || self.bug != Some(Bug::WaitForEver));
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let (nothing, due) = {
                let (mut state, now) = self.state();
                match ask(&mut state, now) {
                    Ok(found) => return found,
                    Err(nothing) => nothing,
                }
            };
            if end.is_some_and(|end| end <= Instant::now()) {
                return nothing;
            }
            let due = due.filter(|_| self.bug != Some(Bug::SleepThroughDue));
            let wake = due.and_then(|due| self.instant(due)).into_iter().chain(end).min();
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    fn durability(&self, required: Durability) -> Support {
        if Durability::UNSYNCED.satisfies(required) || self.bug == Some(Bug::PretendToSync) {
            return Support::Native;
        }
        Support::refused("it keeps one copy, in memory", "ask for `durability = { copies = 1, synced = 0 }`")
    }

    /// Refusals, as they are told.
    fn told(&self, mut refusals: Vec<Refusal>) -> Vec<Refusal> {
        for refusal in refusals.iter_mut().filter(|_| self.bug == Some(Bug::RefuseWithoutHint)) {
            refusal.hint = "".into();
        }
        refusals
    }

    fn refusal(&self, feature: impl Feature) -> Option<Support> {
        let refuses = self.refused.contains(&feature.key());
        refuses.then(|| Support::refused("it was told to refuse this", "take it back"))
    }
}
