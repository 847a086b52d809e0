//! One transaction from its beginning to an outcome that is told truly.

use std::future::Future;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use crate::failure::Failure;
use crate::pool::{Busy, Pool};
use crate::session::Session;

/// What a transaction does. It may be done more than once, each time from the beginning, until it is committed.
pub(crate) trait Work: Send + Sync + 'static {
    type Answer: Send + 'static;

    /// When it has to be on the disk.
    const SYNC: SyncPoint;

    /// The class of the schema's locks, when queues have to stay as they are declared until the end: declarations and
    /// removals wait for it.
    fn keeps_structure(&self) -> Option<i32>;

    fn run<'a>(
        &'a self,
        session: &'a Session,
    ) -> impl Future<Output = Result<Ended<Self::Answer>, Failure>> + Send + 'a;
}

/// When a transaction has to be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyncPoint {
    /// Before its locks are given up: nobody acts on what a crash may undo.
    First,
    /// After its locks are given up and before it is answered, so that those who wait for its locks do not wait for the
    /// disk. What others build on it is written behind it, and so a crash that undoes it undoes that too.
    Last,
    /// At some time: whoever needs it does it again.
    Lazily,
}

/// How a transaction wants to end.
#[derive(Debug)]
pub(crate) enum Ended<T> {
    Commit(T),
    Rollback(T),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Undone {
    Overloaded {
        bound: &'static str,
        limit: u64,
    },
    /// It is not done.
    Unavailable {
        cause: String,
    },
    /// The server was told to commit, and did not say that it has or has not.
    Unknown {
        cause: String,
    },
}

/// Where a transaction failed.
enum Stage {
    Before,
    AtCommit,
    /// It is committed, and not known to be synced.
    After,
}

/// Waits for a connection's turn.
pub(crate) async fn place(pool: &Pool, pending_max: u64) -> Result<OwnedSemaphorePermit, Undone> {
    pool.place().await.map_err(|busy| undone(busy, pending_max))
}

fn undone(busy: Busy, pending_max: u64) -> Undone {
    match busy {
        Busy::Full => Undone::Overloaded { bound: "pending_max", limit: pending_max },
        Busy::Late => {
            Undone::Unavailable { cause: "there was no connection within `pending_timeout`".to_owned() }
        }
        Busy::Failed(failure) => Undone::Unavailable { cause: failure.to_string() },
    }
}

/// Does `work` on a connection of `pool`, whose place the caller has.
///
/// It is tried again when the server gave it up in favour of another one, and when a connection that was idle turns out
/// to be broken before anything was committed on it.
pub(crate) async fn transact<W: Work>(
    pool: &Pool,
    work: &W,
    tries_max: u32,
    timeout: Duration,
) -> Result<W::Answer, Undone> {
    let mut tries = 0;
    let mut idle = pool.idle();
    loop {
        let was_idle = idle.is_some();
        let session = match idle.take() {
            Some(session) => session,
            None => pool.fresh().await.map_err(|busy| undone(busy, 0))?,
        };
        let mut stage = Stage::Before;
        let done = tokio::time::timeout(timeout, attempt(&session, work, &mut stage)).await;
        let failure = match done {
            Ok(Ok(answer)) => {
                pool.give_back(session);
                return Ok(answer);
            }
            Ok(Err(failure)) => failure,
            Err(_) => {
                session.cancel();
                Failure::Late
            }
        };
        let cause = failure.to_string();
        let is_done_nowhere = match stage {
            Stage::Before => true,
            Stage::AtCommit => failure.is_refusal(),
            Stage::After => return Err(Undone::Unavailable { cause }),
        };
        if !is_done_nowhere {
            return Err(Undone::Unknown { cause });
        }
        tries += 1;
        if failure.is_conflict() && tries < tries_max && session.batch("ROLLBACK").await.is_ok() {
            idle = Some(session);
        } else if failure.is_conflict() && tries >= tries_max {
            return Err(Undone::Overloaded { bound: "tries_max", limit: tries_max.into() });
        } else if was_idle && session.is_closed() && tries < tries_max {
            idle = pool.idle();
        } else {
            return Err(Undone::Unavailable { cause });
        }
    }
}

/// Does `work` on a connection that its caller keeps; nothing, when the server gave it up in favour of another one.
pub(crate) async fn once<W: Work>(
    session: &Session,
    work: &W,
    timeout: Duration,
) -> Result<Option<W::Answer>, Failure> {
    let mut stage = Stage::Before;
    let done = tokio::time::timeout(timeout, attempt(session, work, &mut stage)).await;
    match done.unwrap_or(Err(Failure::Late)) {
        Ok(answer) => Ok(Some(answer)),
        Err(failure) if failure.is_conflict() => session.batch("ROLLBACK").await.map(|()| None),
        Err(failure) => Err(failure),
    }
}

async fn attempt<W: Work>(session: &Session, work: &W, stage: &mut Stage) -> Result<W::Answer, Failure> {
    let mut begin = String::from("BEGIN");
    if W::SYNC != SyncPoint::First {
        begin.push_str("; SET LOCAL synchronous_commit TO off");
    }
    if let Some(class) = work.keeps_structure() {
        begin.push_str(&format!("; SELECT pg_advisory_xact_lock_shared({class}, 0)"));
    }
    session.batch(&begin).await?;
    match work.run(session).await? {
        Ended::Rollback(answer) => {
            session.batch("ROLLBACK").await?;
            Ok(answer)
        }
        Ended::Commit(answer) => {
            *stage = Stage::AtCommit;
            session.batch("COMMIT").await?;
            if W::SYNC == SyncPoint::Last {
                *stage = Stage::After;
                // A commit of its own, whose sync reaches all that was written before it.
                session.one("SELECT 1 FROM pg_logical_emit_message(true, 'intertie', '')", &[]).await?;
            }
            Ok(answer)
        }
    }
}
