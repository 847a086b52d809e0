//! The engine: what a node shares among its callers.

use std::sync::Arc;
use std::time::Duration;

use intertie_idempotency::Bounds;
use intertie_messaging::commit::CommitError;
use intertie_messaging::queue::Lease as Leased;
use intertie_messaging::support::EngineId;
use intertie_messaging::{Durability, EngineError, Name};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::Config;

use crate::bells::Bells;
use crate::commit::Lease;
use crate::config::PostgresConfig;
use crate::failure::Failure;
use crate::keeper::{Errands, keep};
use crate::lease::{Answer, Leasing, Releasing};
use crate::open_error::OpenError;
use crate::pool::Pool;
use crate::schema::{Brought, bring_up_to_date};
use crate::session::{Found, VERSION_MIN, connect};
use crate::transaction::{Undone, Work, place, transact};

/// Queues, inboxes and records of requests in one schema of a database, together with other nodes that have opened the
/// same.
///
/// One commit reaches all of them. It runs on the runtime that it was opened on: what was handed over goes on when its
/// caller gives up, and is done whole or not at all. Dropping the engine ends what it does by itself; leases go on, and
/// are their consumers' at every other node.
#[derive(Debug)]
pub struct Postgres {
    pub(crate) shared: Arc<Shared>,
    keeper: JoinHandle<()>,
}

/// What the callers and the keeper of a node have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: EngineId,
    pub(crate) config: PostgresConfig,
    pub(crate) server: Config,
    pub(crate) found: Found,
    pub(crate) pool: Pool,
    /// The class of the advisory locks of this schema.
    pub(crate) locks: i32,
    /// What tells this node from others.
    pub(crate) node: i64,
    pub(crate) bells: Bells,
    pub(crate) errands: Errands,
    runtime: Handle,
}

impl Postgres {
    /// Connects, makes the schema or brings it up to date, and begins to do what is due.
    ///
    /// # Errors
    /// When a setting can not work, the server does not answer, is too old, or takes no writes, or a later version of
    /// this engine has written the schema.
    ///
    /// # Panics
    /// Outside of a runtime of tokio.
    pub async fn open(server: &Config, config: &PostgresConfig) -> Result<Self, OpenError> {
        config.validate().map_err(OpenError::Config)?;
        let opened =
            tokio::time::timeout(2 * config.transaction_timeout, Self::connect(server, config)).await;
        let (found, locks) = opened.unwrap_or_else(|_| Err(server_error(&Failure::Late)))?;
        let mut node = [0; 8];
        let random = SystemRandom::new().fill(&mut node);
        random.map_err(|_| OpenError::Server { cause: "the system gives no random numbers".to_owned() })?;
        let shared = Arc::new(Shared {
            id: EngineId { name: "postgresql", version: found.version.clone() },
            pool: Pool::new(server.clone(), config.clone(), found.clone()),
            config: config.clone(),
            server: server.clone(),
            found,
            locks,
            node: i64::from_be_bytes(node),
            bells: Bells::new(config.waiting_max.get() as usize),
            errands: Errands::default(),
            runtime: Handle::current(),
        });
        let keeper = tokio::spawn(keep(Arc::clone(&shared)));
        Ok(Self { shared, keeper })
    }

    /// What the server is, and the class of the schema's locks.
    async fn connect(server: &Config, config: &PostgresConfig) -> Result<(Found, i32), OpenError> {
        let failed = |failure: Failure| server_error(&failure);
        let (session, connection) = connect(server, config).await.map_err(failed)?;
        tokio::spawn(connection);
        let found = session.set_up(config).await.map_err(failed)?;
        if found.version_number < VERSION_MIN {
            return Err(OpenError::Version { found: found.version });
        }
        if found.is_standby {
            return Err(OpenError::Standby);
        }
        match bring_up_to_date(&session, &config.schema).await.map_err(failed)? {
            Brought::UpToDate => {}
            Brought::Later { version } => {
                return Err(OpenError::Later { version, known: crate::schema::version() });
            }
        }
        let sql = "SELECT oid FROM pg_namespace WHERE nspname = $1";
        let row = session.one(sql, &[&config.schema]).await.map_err(failed)?;
        let class: u32 = row.try_get(0).map_err(|error| failed(error.into()))?;
        Ok((found, class.cast_signed()))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

fn server_error(failure: &Failure) -> OpenError {
    OpenError::Server { cause: failure.to_string() }
}

impl Shared {
    /// The most that a receipt can say.
    pub(crate) fn durability(&self) -> Durability {
        if self.found.syncs { Durability::SYNCED } else { Durability::UNSYNCED }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { records: self.config.records_max.get(), answer_bytes: self.config.answers_bytes_max.bytes() }
    }

    async fn transact<W: Work>(&self, work: &W) -> Result<W::Answer, Undone> {
        let (tries, timeout) = (self.config.tries_max.get(), self.config.transaction_timeout);
        transact(&self.pool, work, tries, timeout).await
    }

    /// Does `work`, and `then` with its answer, to the end even if the caller gives up.
    pub(crate) async fn perform<W: Work>(
        self: &Arc<Self>,
        work: W,
        then: impl FnOnce(&Self, &W::Answer) + Send + 'static,
    ) -> Result<W::Answer, Undone> {
        let place = place(&self.pool, self.config.pending_max.get().into()).await?;
        let shared = Arc::clone(self);
        let task = self.runtime.spawn(async move {
            let _place = place;
            let answer = shared.transact(&work).await;
            if let Ok(answer) = &answer {
                then(&shared, answer);
            }
            answer
        });
        let ended = || Undone::Unknown { cause: "the engine was closed meanwhile".to_owned() };
        task.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Leases; what is not handed out, because the caller has given up, is released.
    pub(crate) async fn lease(self: &Arc<Self>, work: Leasing) -> Result<Leasings, Undone> {
        let place = place(&self.pool, self.config.pending_max.get().into()).await?;
        let (sender, receiver) = oneshot::channel();
        let (shared, queue) = (Arc::clone(self), work.request.queue.clone());
        let mut awaited = Awaited { shared: Arc::clone(self), queue: queue.clone(), receiver };
        self.runtime.spawn(async move {
            let _place = place;
            let answer = shared.transact(&work).await;
            if let Ok(Ok(Answer { due: Some((now, until)), .. })) = &answer {
                shared.errands.expect(*now, *until);
            }
            if let Err(unheard) = sender.send(answer) {
                shared.release(queue, unheard).await;
            }
        });
        let ended = || Undone::Unavailable { cause: "the engine was closed meanwhile".to_owned() };
        (&mut awaited.receiver).await.unwrap_or_else(|_| Err(ended()))
    }

    async fn release(&self, queue: Name, unheard: Result<Leasings, Undone>) {
        let Ok(Ok(Answer { leases, .. })) = unheard else { return };
        let leases: Vec<Lease> =
            leases.iter().filter_map(|leased: &Leased| Lease::read(&leased.id)).collect();
        if leases.is_empty() {
            return;
        }
        let releasing = Releasing { queue: queue.clone(), leases, locks: self.locks };
        // Where this fails, their time ends them.
        if self.transact(&releasing).await.is_ok() {
            self.bells.ring(&queue);
            self.errands.announce([queue]);
        }
    }
}

/// What a transaction that leases answers.
pub(crate) type Leasings = Result<Answer, EngineError>;

/// Leases that are on their way to a caller.
struct Awaited {
    shared: Arc<Shared>,
    queue: Name,
    receiver: oneshot::Receiver<Result<Leasings, Undone>>,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.receiver.close();
        if let Ok(unheard) = self.receiver.try_recv() {
            let (shared, queue) = (Arc::clone(&self.shared), self.queue.clone());
            self.shared.runtime.spawn(async move {
                let _place = shared.pool.place().await;
                shared.release(queue, unheard).await;
            });
        }
    }
}

/// When to come back to a server that does not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a caller of something other than a commit hears.
pub(crate) fn engine_error(undone: Undone) -> EngineError {
    match undone {
        Undone::Overloaded { bound, limit } => EngineError::Overloaded { bound, limit },
        Undone::Unavailable { cause } | Undone::Unknown { cause } => {
            EngineError::Unavailable { cause, retry_after: Some(RETRY_AFTER) }
        }
    }
}

/// What the caller of a commit hears.
pub(crate) fn commit_error(undone: Undone) -> CommitError {
    match undone {
        Undone::Overloaded { bound, limit } => CommitError::Overloaded { bound, limit },
        Undone::Unavailable { cause } => CommitError::Unavailable { cause, retry_after: Some(RETRY_AFTER) },
        Undone::Unknown { cause } => CommitError::Unknown { cause },
    }
}
