//! Connections that read, each on a thread of its own.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::config::StoreConfig;
use super::database::open_reader;
use super::open_error::OpenError;

/// Why a read gave nothing.
#[derive(Debug)]
pub enum QueryError {
    /// Too many reads wait: `reads_pending_max`.
    Overloaded {
        /// The setting's value.
        limit: u32,
    },
    /// SQLite's own.
    Sqlite(rusqlite::Error),
    /// A defect: the read panicked.
    Panicked,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overloaded { limit } => write!(f, "too many reads wait: `reads_pending_max` is {limit}"),
            Self::Sqlite(_) => f.write_str("the database could not be read"),
            Self::Panicked => f.write_str("a defect of this program, found in a read"),
        }
    }
}

impl std::error::Error for QueryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Sqlite(source) => Some(source),
            Self::Overloaded { .. } | Self::Panicked => None,
        }
    }
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A bounded number of threads that read, and a bounded queue before them.
pub(super) struct Readers {
    jobs: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
    limit: u32,
}

impl Readers {
    pub(super) fn open(database: &Path, config: &StoreConfig) -> Result<Self, OpenError> {
        let limit = config.reads_pending_max.get();
        let (jobs, queue) = sync_channel(limit as usize);
        let queue = Arc::new(Mutex::new(queue));
        let connections: Vec<Connection> =
            (0..config.readers.get()).map(|_| open_reader(database, config)).collect::<Result<_, _>>()?;
        let spawn = |connection| {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name("store-reader".to_owned()).spawn(move || run(connection, &queue))
        };
        let threads: Result<_, _> = connections.into_iter().map(spawn).collect();
        let threads = threads.map_err(|source| OpenError::io(database, source))?;
        Ok(Self { jobs: Some(jobs), threads, limit })
    }

    /// Runs `read` in a transaction: all that it reads is of one moment.
    pub(super) async fn query<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueryError> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            if !sender.is_closed() {
                // A caller who left needs no answer.
                let _ = sender.send(in_transaction(connection, read));
            }
        });
        let jobs = self.jobs.as_ref().expect("jobs are taken until the readers are dropped");
        match jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(QueryError::Overloaded { limit: self.limit }),
            Err(TrySendError::Disconnected(_)) => unreachable!("readers run until their jobs end"),
        }
        match receiver.await {
            Ok(result) => result.map_err(QueryError::Sqlite),
            Err(_) => Err(QueryError::Panicked),
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // Its panics were caught.
            let _ = thread.join();
        }
    }
}

fn in_transaction<T>(
    connection: &mut Connection,
    read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    let value = read(&transaction)?;
    transaction.finish()?;
    Ok(value)
}

fn run(mut connection: Connection, queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // The transaction of a job that panics is rolled back as it unwinds, and its answer is dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| job(&mut connection)));
    }
}
