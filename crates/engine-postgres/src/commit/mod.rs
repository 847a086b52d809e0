//! A commit as one transaction: everything it names is locked, then looked at, then changed.
//!
//! Locks are taken in one order, each kind sorted: what is declared (shared), room in queues, groups, messages, records
//! of requests, marks, ids. A transaction that takes them so waits for others and never in a circle; where the server
//! sees one all the same, it is tried again.

mod change;
mod facts;
mod look;
mod perform;

use std::sync::Arc;

use intertie_messaging::Durability;
use intertie_messaging::commit::{CommitError, Committed, Refused};

pub(crate) use change::Change;
pub(crate) use change::{Lease, request_digest};
pub(crate) use facts::Facts;
pub(crate) use look::{group_lock, lock_rows, now, positions};
pub(crate) use perform::redelivery;

use crate::failure::Failure;
use crate::moment::Moment;
use crate::session::Session;
use crate::transaction::{Ended, SyncPoint, Work};

/// What a commit is to do.
#[derive(Debug)]
pub(crate) struct Committing {
    pub(crate) changes: Arc<[Change]>,
    pub(crate) locks: i32,
    pub(crate) durability: Durability,
    pub(crate) bounds: intertie_idempotency::Bounds,
}

/// What became of it, and when something of it is due.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) committed: Result<Committed, CommitError>,
    /// The moment of the commit, and the first one at which time has to do something because of it.
    pub(crate) due: Option<(Moment, Moment)>,
}

impl From<Result<Committed, CommitError>> for Done {
    fn from(committed: Result<Committed, CommitError>) -> Self {
        Self { committed, due: None }
    }
}

impl Work for Committing {
    type Answer = Done;

    const SYNC: SyncPoint = SyncPoint::First;

    fn keeps_structure(&self) -> Option<i32> {
        Some(self.locks)
    }

    async fn run<'a>(&'a self, session: &'a Session) -> Result<Ended<Done>, Failure> {
        let mut facts = look::look(session, &self.changes, self.locks, self.bounds).await?;
        let refused = |(operation, cause): (usize, Refused)| Err(CommitError::Refused { operation, cause });
        match facts.is_done_before(&self.changes) {
            Ok(false) => {}
            Ok(true) => return Ok(Ended::Rollback(Ok(Committed::DoneBefore).into())),
            Err(operation) => {
                return Ok(Ended::Rollback(refused((operation, Refused::DoneBefore)).into()));
            }
        }
        look::remember(session, &self.changes, &mut facts).await?;
        if let Some((operation, mut cause)) = facts.first_refused(&self.changes) {
            if let Refused::Engine(intertie_messaging::EngineError::NotFound { name, .. }) = &cause {
                cause = crate::queues::not_found(session, &name.clone()).await?.into();
            }
            return Ok(Ended::Rollback(refused((operation, cause)).into()));
        }
        let (outcomes, next) = perform::perform(session, &self.changes, &facts, self.durability).await?;
        let due = next.map(|next| (facts.now, next));
        Ok(Ended::Commit(Done { committed: Ok(Committed::Done(outcomes)), due }))
    }
}
