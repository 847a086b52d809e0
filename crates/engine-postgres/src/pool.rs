//! The connections of a node, each lent to one transaction at a time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::Config;

use crate::config::PostgresConfig;
use crate::failure::Failure;
use crate::session::{Found, Session, connect};

#[derive(Debug)]
pub(crate) struct Pool {
    server: Config,
    config: PostgresConfig,
    /// What every connection has to find again.
    found: Found,
    places: Arc<Semaphore>,
    pending: AtomicU32,
    idle: Mutex<Vec<Session>>,
}

/// Why no connection was to be had.
#[derive(Debug)]
pub(crate) enum Busy {
    /// `pending_max` callers wait already.
    Full,
    /// None was given back within `pending_timeout`.
    Late,
    /// A new one could not be made.
    Failed(Failure),
}

impl Pool {
    pub(crate) fn new(server: Config, config: PostgresConfig, found: Found) -> Self {
        let places = Arc::new(Semaphore::new(config.connections_max.get() as usize));
        Self { server, config, found, places, pending: AtomicU32::new(0), idle: Mutex::default() }
    }

    /// A place among the connections, waited for in turn.
    pub(crate) async fn place(&self) -> Result<OwnedSemaphorePermit, Busy> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let _pending = Pending::begin(self).ok_or(Busy::Full)?;
        let place = Arc::clone(&self.places).acquire_owned();
        let place = tokio::time::timeout(self.config.pending_timeout, place).await;
        place.map_err(|_| Busy::Late)?.map_err(|_| Busy::Late)
    }

    /// A connection that was given back, if one is still good.
    pub(crate) fn idle(&self) -> Option<Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(|session| !session.is_closed())
    }

    /// A new connection. What it finds must be what was promised on.
    pub(crate) async fn fresh(&self) -> Result<Session, Busy> {
        let made = async {
            let (session, connection) = connect(&self.server, &self.config).await?;
            tokio::spawn(connection);
            let found = session.set_up(&self.config).await?;
            check(&self.found, &found)?;
            Ok(session)
        };
        let made = tokio::time::timeout(self.config.pending_timeout, made).await;
        made.map_err(|_| Busy::Late)?.map_err(Busy::Failed)
    }

    /// Takes back a connection that no transaction is open on.
    pub(crate) fn give_back(&self, session: Session) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }
}

/// Whether a server is still what receipts were promised on.
pub(crate) fn check(before: &Found, now: &Found) -> Result<(), Failure> {
    let problem = if now.is_standby {
        "the server has become a standby, which takes no writes"
    } else if before.syncs && !now.syncs {
        "the server runs with `fsync = off` now, and receipts were promised to be synced"
    } else {
        return Ok(());
    };
    Err(Failure::Changed { problem: problem.to_owned() })
}

/// A caller that waits.
struct Pending<'a>(&'a AtomicU32);

impl<'a> Pending<'a> {
    fn begin(pool: &'a Pool) -> Option<Self> {
        let most = pool.config.pending_max.get();
        let more = |pending: u32| (pending < most).then_some(pending + 1);
        let begun = pool.pending.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        begun.ok().map(|_| Self(&pool.pending))
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
