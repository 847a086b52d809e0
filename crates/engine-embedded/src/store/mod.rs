//! One data directory, one writer, many readers.
//!
//! A [`Store`] keeps a [`State`]: commands are submitted, checked, applied and committed in groups, and answered
//! when they are durable. The crate's page says what that promises.
//!
//! A counter that never goes below zero:
//!
//! ```
//! use intertie_core::clock::{Timestamp, WallClock};
//! use intertie_core::telemetry::Events;
//! use intertie_engine_embedded::store::{State, Store, StoreConfig, SubmitError};
//! use rusqlite::Connection;
//!
//! struct Counter {
//!     value: i64,
//! }
//!
//! #[derive(Debug)]
//! struct BelowZero;
//!
//! impl State for Counter {
//!     type Command = i64;
//!     type Reply = i64;
//!     type Refusal = BelowZero;
//!
//!     fn bytes(_: &i64) -> usize {
//!         8
//!     }
//!
//!     fn check(&self, _: &Connection, add: &i64, _: Timestamp) -> rusqlite::Result<Result<(), BelowZero>> {
//!         Ok(if self.value + add < 0 { Err(BelowZero) } else { Ok(()) })
//!     }
//!
//!     fn apply(&mut self, connection: &Connection, add: i64, _: Timestamp) -> rusqlite::Result<i64> {
//!         self.value += add;
//!         connection.prepare_cached("UPDATE counter SET value = ?1")?.execute([self.value])?;
//!         Ok(self.value)
//!     }
//! }
//!
//! fn load(connection: &Connection) -> rusqlite::Result<Counter> {
//!     connection.execute_batch(
//!         "CREATE TABLE IF NOT EXISTS counter (one INTEGER PRIMARY KEY, value INTEGER);
//!          INSERT OR IGNORE INTO counter VALUES (1, 0)",
//!     )?;
//!     Ok(Counter { value: connection.query_row("SELECT value FROM counter", [], |row| row.get(0))? })
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let directory = directory.path();
//! let open = || Store::open(directory, &StoreConfig::default(), WallClock::system(), Events::default(), load);
//! let store = open()?;
//! let (first, refused) = (store.submit(5), store.submit(-6));
//! assert_eq!(first.await.expect("stored"), 5);
//! assert!(matches!(refused.await, Err(SubmitError::Refused(BelowZero))));
//!
//! drop(store);
//! assert_eq!(open()?.submit(1).await.expect("stored"), 6);
//! # Ok(())
//! # }
//! ```

mod answer;
mod checkpoint;
mod config;
mod database;
#[cfg_attr(not(feature = "defects"), expect(unreachable_pub, reason = "public with the feature"))]
mod defect;
mod directory;
mod failure;
mod gather;
mod health;
mod mailbox;
pub mod maintenance;
mod open_error;
mod pin;
mod readers;
mod renewal;
mod reserve;
mod schema;
mod shared;
mod state;
mod submit_error;
mod time;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use intertie_core::clock::WallClock;
use intertie_core::telemetry::{Events, Snapshot, Source};
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

pub use answer::Answer;
pub use config::StoreConfig;
#[cfg(feature = "defects")]
pub use defect::Defect;
#[cfg(not(feature = "defects"))]
use defect::Defect;
pub use failure::{Failure, Step};
pub use health::Health;
pub(crate) use open_error::NewerSpec;
pub use open_error::OpenError;
pub use pin::WalPin;
pub use readers::QueryError;
pub use state::State;
pub use submit_error::SubmitError;

use directory::Directory;
use health::Counters;
use mailbox::{Capacity, Full, Mailbox};
use readers::Readers;
use shared::{Envelope, Shared};
use writer::Writer;

/// A state made durable in a data directory that nobody else has.
///
/// Dropping it commits what was submitted, empties the write-ahead log and lets go of the directory; that blocks
/// for a commit and a checkpoint, and if another program reads what is in the log, for at most `busy_wait`.
pub struct Store<S: State> {
    shared: Arc<Shared<S>>,
    writer: Option<JoinHandle<()>>,
    group_bytes_max: usize,
    // Dropped in this order, after the writer: no connection is left when another process may have the lock.
    readers: Readers,
    directory: Directory,
}

impl<S: State> Store<S> {
    /// Opens the store in `directory`, which is made if there is none, and starts its threads.
    ///
    /// What earlier processes committed is recovered, synced and moved out of the write-ahead log before anything
    /// is written; then `load` makes the state of what is stored. After a crash that takes longer with a longer log:
    /// some tens of milliseconds for 16 MiB.
    ///
    /// # Errors
    /// When the directory is in use, can not be written or is on a network filesystem, and when the database is
    /// damaged, not ours, or of a later version.
    pub fn open(
        directory: &Path,
        config: &StoreConfig,
        clock: WallClock,
        events: Events,
        load: impl FnOnce(&Connection) -> rusqlite::Result<S>,
    ) -> Result<Self, OpenError> {
        let defect = Defect::take();
        config.validate().map_err(OpenError::Config)?;
        let directory = Directory::open(directory)?;
        let connection = database::open_writer(&directory, config)?;
        let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        let capacity = Capacity {
            items: config.pending_max.get() as usize,
            bytes: bytes(config.pending_bytes_max.bytes()),
        };
        let shared = Arc::new(Shared {
            mailbox: Mailbox::new(capacity),
            health: watch::Sender::new(None),
            counters: Counters::default(),
            events,
        });
        let database = directory.database();
        let writer = Writer::new(connection, load, Arc::clone(&shared), clock, config, &directory, defect)
            .map_err(|source| OpenError::sqlite(&database, source))?;
        let readers = Readers::open(&database, config)?;
        let spawned = thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.run());
        let writer = Some(spawned.map_err(|source| OpenError::io(&database, source))?);
        let group_bytes_max = bytes(config.group_bytes_max.bytes());
        Ok(Self { shared, writer, group_bytes_max, readers, directory })
    }

    /// Hands `command` to the writer, and answers when it is durable or refused.
    ///
    /// Commands are applied in the order of these calls. Dropping the answer does not stop the command: it is stored
    /// or not as if its caller had waited, and what that then means is for [`State::undelivered`] to say.
    ///
    /// # Errors
    /// The answer is an error when the command is not stored, and [`SubmitError::Unknown`] when nobody can tell
    /// before the store is opened again.
    pub fn submit(&self, command: S::Command) -> Answer<S> {
        let bytes = S::bytes(&command);
        if bytes > self.group_bytes_max {
            let limit = self.group_bytes_max as u64;
            return Answer::now(SubmitError::TooLarge { bytes: bytes as u64, limit });
        }
        let (answer, receiver) = oneshot::channel();
        match self.shared.mailbox.push(Envelope { command, answer: Some(answer) }, bytes) {
            Ok(()) => Answer::waiting(receiver, Arc::clone(&self.shared)),
            Err(Full::Closed) => Answer::now(match self.shared.health() {
                Health::Failed { cause } => SubmitError::Unavailable(cause),
                Health::Serving { .. } => SubmitError::Closed,
            }),
            Err(full @ (Full::Items | Full::Bytes)) => {
                self.shared.counters.overloaded();
                Answer::now(self.overloaded(&full))
            }
        }
    }

    /// Reads what is committed, on one of the store's reading threads: all of it as of one moment.
    ///
    /// What a reader holds open the write-ahead log can not let go of, so long reads go page by page, each in a
    /// query of its own. A read never waits for the writer, and goes on when the store has failed.
    ///
    /// # Errors
    /// When too many reads wait, or the read itself fails.
    pub async fn query<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueryError> {
        self.readers.query(read).await
    }

    /// Whether the store takes writes.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Waits until the store takes no more writes, and tells why. Pends for as long as it does.
    pub async fn failed(&self) -> Failure {
        let mut health = self.shared.health.subscribe();
        loop {
            if let Some(cause) = health.borrow_and_update().clone() {
                return cause;
            }
            health.changed().await.expect("this store keeps the sender");
        }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn overloaded(&self, full: &Full) -> SubmitError<S::Refusal> {
        let capacity = self.shared.mailbox.capacity();
        match full {
            Full::Bytes => {
                SubmitError::Overloaded { bound: "pending_bytes_max", limit: capacity.bytes as u64 }
            }
            _ => SubmitError::Overloaded { bound: "pending_max", limit: capacity.items as u64 },
        }
    }
}

impl<S: State> Drop for Store<S> {
    fn drop(&mut self) {
        self.shared.mailbox.close();
        if let Some(writer) = self.writer.take() {
            // It ends by itself, and says nothing: a panic is in the health.
            let _ = writer.join();
        }
    }
}

impl<S: State> Source for Store<S> {
    fn read(&self, snapshot: &mut Snapshot) {
        self.shared.counters.read(snapshot);
        let waiting = self.shared.mailbox.len() as f64;
        snapshot.gauge("store_pending", "Commands that wait for the writer.", &[], waiting);
        let is_serving = matches!(self.shared.health(), Health::Serving { .. });
        let help = "1 while the store takes writes.";
        snapshot.gauge("store_serving", help, &[], f64::from(u8::from(is_serving)));
    }
}

impl<S: State> fmt::Debug for Store<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("directory", &self.directory).finish_non_exhaustive()
    }
}
