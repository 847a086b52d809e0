//! The ports of queues and inboxes, each verb as a command of the state.

use std::time::Duration;

use bytes::Bytes;
use intertie_core::clock::Timestamp;
use intertie_messaging::commit::{Commit, CommitError, Committed, Kind, Together};
use intertie_messaging::queue::{
    Browse, Depth, Lease, LeaseId, LeaseRequest, Page, QueueEngine, QueueFeature, QueueSpec,
};
use intertie_messaging::support::{Declared, EngineId, Support, resolve};
use intertie_messaging::{
    DeclareError, Durability, Engine, EngineError, InboxEngine, Listing, Name, Pending,
};
use tokio::time::Instant;

use super::{Embedded, commit_error, engine_error};
use crate::content;
use crate::queue::{self, Leased, Then};
use crate::state::{Change, Command, Refusal, Reply};
use crate::store::{QueryError, SubmitError};

/// What a command was answered that has this one answer.
macro_rules! reply {
    ($reply:expr, $answer:pat => $value:expr) => {
        match $reply {
            $answer => $value,
            other => unreachable!("a command is answered in kind, and not by {other:?}"),
        }
    };
}
pub(super) use reply;

impl Engine for Embedded {
    fn id(&self) -> &EngineId {
        &self.id
    }

    fn commit_support(&self, together: Together) -> Support {
        if together.has(Kind::Append) || together.has(Kind::Advance) {
            return Support::refused("this engine keeps no topics yet", "send to a queue");
        }
        Support::Native
    }

    fn commit(&self, commit: Commit) -> Pending<'_, Result<Committed, CommitError>> {
        Box::pin(async move {
            let support = commit.together().map(|together| self.commit_support(together));
            if let Some(refusal) = support.and_then(|support| support.refusal("commit", &self.id)) {
                return Err(CommitError::Unsupported(Box::new(refusal)));
            }
            let (is, limit) = (commit.operations.len() as u64, self.config.operations_max.get().into());
            if is > limit {
                return Err(CommitError::TooLarge { bound: "operations_max", is, limit });
            }
            let changes = commit.operations.into_iter().map(Change::from).collect();
            let reply = self.ask(Command::Commit(changes)).await.map_err(commit_error)?;
            Ok(reply!(reply, Reply::Committed(committed) => committed))
        })
    }
}

impl QueueEngine for Embedded {
    fn support(&self, feature: QueueFeature) -> Support {
        match feature {
            QueueFeature::Durability(required) if !Durability::SYNCED.satisfies(required) => {
                Support::refused(
                    "it keeps one copy, in one directory",
                    "ask for `durability = { copies = 1, synced = 1 }`",
                )
            }
            _ => Support::Native,
        }
    }

    fn declare_queue<'a>(
        &'a self,
        name: &'a Name,
        spec: &'a QueueSpec,
    ) -> Pending<'a, Result<Declared, DeclareError>> {
        Box::pin(async move {
            spec.check().map_err(DeclareError::Invalid)?;
            let support = |feature| self.support(feature);
            let declared = resolve(name, spec.features(), spec.emulation, &self.id, support);
            let declared = declared.map_err(DeclareError::Refused)?;
            let command = Command::Declare { name: name.clone(), spec: Box::new(spec.clone()) };
            self.ask(command).await.map_err(|error| match error {
                SubmitError::Refused(Refusal::Declare(error)) => error,
                error => engine_error(error).into(),
            })?;
            Ok(declared
                .with_verbs(spec.emulation, support)
                .with_commits(|together| self.commit_support(together)))
        })
    }

    fn delete_queue<'a>(&'a self, name: &'a Name) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(async move {
            self.ask(Command::Delete { name: name.clone() }).await.map(|_| ()).map_err(engine_error)
        })
    }

    fn queues<'a>(&'a self, listing: &'a Listing) -> Pending<'a, Result<Vec<Name>, EngineError>> {
        Box::pin(async move {
            let reply = self.ask(Command::List { listing: listing.clone() }).await.map_err(engine_error)?;
            Ok(reply!(reply, Reply::Names(names) => names))
        })
    }

    fn lease<'a>(&'a self, request: &'a LeaseRequest) -> Pending<'a, Result<Vec<Lease>, EngineError>> {
        Box::pin(async move {
            let end = Instant::now().checked_add(request.wait);
            if request.wait.is_zero() {
                return self.lease_now(request).await.map(|(leased, _)| leased);
            }
            let mut place = self.waiting.begin(&request.queue, &request.consumer).ok_or_else(|| {
                EngineError::Overloaded { bound: "waiting_max", limit: self.waiting.most() as u64 }
            })?;
            loop {
                let (leased, then) = self.lease_now(request).await?;
                match then {
                    Then::PassOn => place.pass_on(),
                    Then::Wait | Then::AskAgain => place.is_served(),
                }
                if !leased.is_empty() {
                    return Ok(leased);
                }
                let over = async {
                    match end {
                        Some(end) => tokio::time::sleep_until(end).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = place.told() => {}
                    () = over => return Ok(Vec::new()),
                }
            }
        })
    }

    fn extend<'a>(
        &'a self,
        queue: &'a Name,
        lease: &'a LeaseId,
        time: Duration,
    ) -> Pending<'a, Result<Timestamp, EngineError>> {
        Box::pin(async move {
            let command = Command::Extend { queue: queue.clone(), lease: lease.clone(), time };
            let reply = self.ask(command).await.map_err(engine_error)?;
            Ok(reply!(reply, Reply::Until(until) => until))
        })
    }

    fn depth<'a>(&'a self, queue: &'a Name) -> Pending<'a, Result<Depth, EngineError>> {
        Box::pin(async move {
            let reply = self.ask(Command::Depth { queue: queue.clone() }).await.map_err(engine_error)?;
            let found = reply!(reply, Reply::Depth(Some(found)) => found);
            let mut consumers = self.waiting.consumers(queue);
            consumers.extend(found.holders);
            Ok(Depth { consumers: Some(consumers.len() as u64), ..found.depth })
        })
    }

    fn browse<'a>(&'a self, browse: &'a Browse) -> Pending<'a, Result<Page, EngineError>> {
        Box::pin(async move {
            let command = Command::Held { browse: browse.clone() };
            let reply = self.ask(command).await.map_err(engine_error)?;
            let (number, held) = reply!(reply, Reply::Held(Some(found)) => found);
            let browse = browse.clone();
            let page = self.store.query(move |connection| queue::browse(connection, number, &held, &browse));
            page.await.map_err(|error| match error {
                QueryError::Overloaded { limit } => {
                    EngineError::Overloaded { bound: "reads_pending_max", limit: limit as u64 }
                }
                error => EngineError::Unavailable { cause: error.to_string(), retry_after: None },
            })
        })
    }
}

impl Embedded {
    /// Leases what there is, and goes on asking while there may be something behind what was looked at.
    async fn lease_now(&self, request: &LeaseRequest) -> Result<(Vec<Lease>, Then), EngineError> {
        loop {
            let command = Command::Lease { request: request.clone(), secret: self.secret()? };
            let reply = self.ask(command).await.map_err(engine_error)?;
            let (leased, then) = reply!(reply, Reply::Leased { leased, then, .. } => (leased, then));
            if !leased.is_empty() || then != Then::AskAgain {
                return Ok((leased.into_iter().map(lease_of).collect(), then));
            }
        }
    }
}

/// A lease as its consumer has it.
pub(crate) fn lease_of(leased: Leased) -> Lease {
    Lease {
        id: leased.token.into(),
        content: content::read(Bytes::from(leased.content)),
        position: Some(leased.token.position),
        priority: leased.priority,
        deliveries: leased.deliveries.try_into().unwrap_or(std::num::NonZeroU32::MIN),
        stored_at: leased.stored_at,
        until: leased.until,
        dead_letter: leased.dead.as_deref().and_then(queue::read_dead).map(Box::new),
    }
}

impl InboxEngine for Embedded {
    fn is_marked<'a>(&'a self, inbox: &'a Name, key: &'a str) -> Pending<'a, Result<bool, EngineError>> {
        Box::pin(async move {
            let command = Command::IsMarked { inbox: inbox.clone(), key: key.to_owned() };
            let reply = self.ask(command).await.map_err(engine_error)?;
            Ok(reply!(reply, Reply::IsMarked(is_marked) => is_marked))
        })
    }
}
