//! Stores for tests, and what is asked of them.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use intertie_core::clock::WallClock;
use intertie_core::quantity::ByteSize;
use intertie_core::telemetry::Events;
use intertie_engine_embedded::store::{OpenError, Store, StoreConfig, SubmitError};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::ledger::{Command, Ledger, NotTheLast, Progress, audit};

/// A directory in memory where there is such a file system: these tests bring a disk of their own.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory for the test")
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().build().expect("a runtime")
}

/// Settings by which little work meets checkpoints, a log started anew, pages that do not fit into memory, and
/// vacuum.
pub(crate) fn small() -> StoreConfig {
    let pages = |count: u64| ByteSize::from_bytes(count * 4096);
    StoreConfig {
        checkpoint_after: pages(24),
        wal_max: pages(100),
        cache: pages(12),
        free_kept: pages(2),
        vacuum_step: pages(3),
        idle_after: Duration::from_millis(1),
        gather: Duration::ZERO,
        readers: NonZeroU32::MIN,
        busy_wait: Duration::from_millis(100),
        ..StoreConfig::default()
    }
}

pub(crate) fn open(directory: &Path, progress: &Progress) -> Result<Store<Ledger>, OpenError> {
    open_with(directory, &small(), progress)
}

pub(crate) fn open_with(
    directory: &Path,
    config: &StoreConfig,
    progress: &Progress,
) -> Result<Store<Ledger>, OpenError> {
    let load = |connection: &_| Ledger::load(connection, progress);
    Store::open(directory, config, WallClock::system(), Events::default(), load)
}

/// What callers were told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    rounds: u64,
    /// Identities that are stored, by number.
    pub(crate) acknowledged: Vec<(u64, u64)>,
    /// Identities that are not stored.
    pub(crate) refused: Vec<u64>,
    /// Identities that nobody knows of.
    pub(crate) unknown: Vec<u64>,
}

/// Submits `rounds` times a few commands at once, and waits for their answers; stops when the store does.
pub(crate) fn run(store: &Store<Ledger>, rounds: u64, told: &mut Told) {
    let runtime = runtime();
    for _ in 0..rounds {
        told.rounds += 1;
        let round = told.rounds;
        let mut random = fastrand::Rng::with_seed(round);
        let identities: Vec<u64> = (0..random.u64(1..7)).map(|_| random.u64(1..1 << 40)).collect();
        let answers: Vec<_> =
            identities.iter().map(|identity| store.submit(Command::Enter { identity: *identity })).collect();
        let stale = store.submit(Command::EnterAfter { last: u64::MAX, identity: 0 });
        for (identity, answer) in identities.into_iter().zip(answers) {
            match runtime.block_on(answer) {
                Ok(number) => told.acknowledged.push((number, identity)),
                Err(SubmitError::Unknown(_)) => told.unknown.push(identity),
                Err(SubmitError::Unavailable(_)) => told.refused.push(identity),
                Err(error) => panic!("{error:?}"),
            }
        }
        match runtime.block_on(stale) {
            Err(SubmitError::Refused(NotTheLast { .. })) => {}
            Err(SubmitError::Unavailable(_)) => return,
            other => panic!("{other:?}"),
        }
        if round % 8 == 7 {
            // Time to be idle in.
            std::thread::sleep(Duration::from_millis(4));
        }
    }
}

impl Told {
    /// Opens what is in `directory` and holds it against what callers knew when the disk had done `at_most` operations:
    /// all that was acknowledged is there under its number, nothing that was refused is, and no group is there in part.
    pub(crate) fn check(&self, directory: &Path, at_most: usize, progress: &Progress, context: &str) {
        let store = match open(directory, &Progress::default()) {
            Ok(store) => store,
            Err(error) => panic!("{context}: {error}: {:?}", std::error::Error::source(&error)),
        };
        let found = runtime().block_on(store.query(audit)).expect("the store can be read");
        for (number, identity) in &self.acknowledged {
            if progress.acknowledged_at(*number) <= at_most {
                let stored = found.get(*number as usize - 1);
                assert_eq!(stored, Some(identity), "{context}: entry {number} was acknowledged");
            }
        }
        for identity in &self.refused {
            assert!(!found.contains(identity), "{context}: what was refused is stored");
        }
        assert!(progress.may_end(found.len() as u64), "{context}: a group is stored in part");
    }
}
