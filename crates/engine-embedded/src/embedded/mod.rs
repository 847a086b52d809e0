//! The engine: the ports on one data directory.

mod config;
mod ports;
mod requests;

use std::path::Path;

use intertie_core::clock::WallClock;
use intertie_core::telemetry::{Events, Snapshot, Source};
use intertie_messaging::EngineError;
use intertie_messaging::commit::CommitError;
use intertie_messaging::support::EngineId;
use ring::rand::{SecureRandom, SystemRandom};

pub use config::EmbeddedConfig;
#[cfg(test)]
pub(crate) use ports::lease_of;

use crate::damage::{Damage, Damages};
use crate::queue;
use crate::state::{Command, Parts, Refusal, Reply};
use crate::store::{Failure, Health, OpenError, Store, SubmitError};
use crate::wakes::Waiting;

/// Queues, inboxes and records of requests in one data directory, which nobody else has.
///
/// One commit reaches all of them. Dropping the engine commits what was asked for and closes the directory, as
/// [`Store`] says; leases go on meanwhile, and are their consumers' when it is opened again in time.
#[derive(Debug)]
pub struct Embedded {
    id: EngineId,
    config: EmbeddedConfig,
    random: SystemRandom,
    waiting: Waiting,
    damages: Damages,
    store: Store<Parts>,
}

impl Embedded {
    /// Opens the directory, which is made if there is none. However many messages there are, only queues and
    /// leases are read.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn open(
        directory: &Path,
        config: &EmbeddedConfig,
        clock: WallClock,
        events: Events,
    ) -> Result<Self, OpenError> {
        config.validate().map_err(OpenError::Config)?;
        let waiting = Waiting::new(config.waiting_max.get() as usize);
        let damages = Damages::new(config.damages_kept.get() as usize, events.clone());
        let load = |connection: &_| Parts::load(connection, config, waiting.clone(), damages.clone());
        let store = Store::open(directory, &config.store, clock, events, load)?;
        let id = EngineId { name: "embedded", version: env!("CARGO_PKG_VERSION").to_owned() };
        Ok(Self { id, config: config.clone(), random: SystemRandom::new(), waiting, damages, store })
    }

    /// Whether it takes writes.
    pub fn health(&self) -> Health {
        self.store.health()
    }

    /// What was found that can not be read, since it was opened: the first `damages_kept`. All the rest goes on.
    pub fn damages(&self) -> Vec<Damage> {
        self.damages.first()
    }

    /// Waits until it takes no more writes, and tells why. Pends for as long as it does.
    pub async fn failed(&self) -> Failure {
        self.store.failed().await
    }

    /// What the directory says to `command`.
    async fn ask(&self, command: Command) -> Result<Reply, SubmitError<Refusal>> {
        let mut answer = self.store.submit(command).await;
        if let Err(SubmitError::Refused(refusal)) = &mut answer
            && let Some((name, nearest)) = refusal.not_found()
        {
            let name = name.clone();
            // Without a reader to spare the answer is as true, and says less.
            let found = self.store.query(move |connection| queue::nearest(connection, &name)).await;
            *nearest = found.unwrap_or_default();
        }
        answer
    }

    /// A number that nobody can guess.
    fn secret(&self) -> Result<u64, EngineError> {
        let mut bytes = [0; 8];
        let cause = || "the system gives no random numbers".to_owned();
        self.random
            .fill(&mut bytes)
            .map_err(|_| EngineError::Unavailable { cause: cause(), retry_after: None })?;
        Ok(u64::from_be_bytes(bytes))
    }
}

impl Source for Embedded {
    fn read(&self, snapshot: &mut Snapshot) {
        self.store.read(snapshot);
        self.damages.read(snapshot);
    }
}

/// What a caller of something other than a commit hears.
fn engine_error(error: SubmitError<Refusal>) -> EngineError {
    match error {
        SubmitError::Refused(Refusal::Engine(error)) => error,
        SubmitError::Overloaded { bound, limit } => EngineError::Overloaded { bound, limit },
        SubmitError::TooLarge { limit, .. } => {
            EngineError::Limit { key: "group_bytes_max", limit: limit.to_string() }
        }
        error => EngineError::Unavailable { cause: cause(&error), retry_after: None },
    }
}

/// What the caller of a commit hears.
fn commit_error(error: SubmitError<Refusal>) -> CommitError {
    match error {
        SubmitError::Refused(Refusal::Commit(error)) => error,
        SubmitError::TooLarge { bytes, limit } => {
            CommitError::TooLarge { bound: "group_bytes_max", is: bytes, limit }
        }
        SubmitError::Overloaded { bound, limit } => CommitError::Overloaded { bound, limit },
        error @ SubmitError::Unknown(_) => CommitError::Unknown { cause: cause(&error) },
        error => CommitError::Unavailable { cause: cause(&error), retry_after: None },
    }
}

/// An error and its cause, for people.
fn cause(error: &SubmitError<Refusal>) -> String {
    match error {
        SubmitError::Unavailable(failure) | SubmitError::Unknown(failure) => format!("{error}: {failure}"),
        error => error.to_string(),
    }
}
