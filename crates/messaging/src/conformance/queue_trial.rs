use std::sync::Arc;
use std::time::Duration;

use intertie_core::quantity::ByteSize;
use tokio::task::JoinSet;

use super::case::{Stop, ensure};
use super::trial::{id, many, name};
use crate::commit::{Commit, CommitError, Committed, Operation, Outcome, Refused};
use crate::message::Message;
use crate::queue::{Browse, Browsed, Depth, Lease, LeaseRequest, QueueEngine, Settlement};
use crate::{Engine, EngineError, Name};

/// What was done now. A case that sends a commit again says so.
pub(super) fn outcomes(committed: Committed) -> Result<Vec<Outcome>, CommitError> {
    match committed {
        Committed::Done(outcomes) => Ok(outcomes),
        Committed::DoneBefore => {
            Err(CommitError::Unknown { cause: "a new commit is said to be done before".to_owned() })
        }
    }
}

/// Ends the case when the engine can not do such things together.
pub(super) fn supported<T>(committed: Result<T, CommitError>) -> Result<Result<T, CommitError>, Stop> {
    match committed {
        Err(unsupported @ CommitError::Unsupported(_)) => Err(unsupported.into()),
        other => Ok(other),
    }
}

/// Commits, and holds the engine to what it said of such commits.
pub(super) async fn commit_as_said<E: Engine + ?Sized>(
    engine: &E,
    commit: Commit,
) -> Result<Committed, CommitError> {
    let together = commit.together();
    let refusal =
        together.and_then(|together| engine.commit_support(together).refusal("commit", engine.id()));
    let committed = engine.commit(commit).await;
    let problem = match &committed {
        Err(CommitError::Unsupported(refused)) if refusal.is_none() => {
            format!("it refuses a commit of {together:?} that it said it supports: {refused}")
        }
        Err(CommitError::Unsupported(refused)) if refused.why.is_empty() || refused.hint.is_empty() => {
            "a commit is refused without a reason and a hint".to_owned()
        }
        Ok(_) if refusal.is_some() => format!("it does a commit of {together:?} that it said it refuses"),
        _ => return committed,
    };
    Err(CommitError::Unknown { cause: problem })
}

/// One queue of the engine; cheap to clone.
#[derive(Clone)]
pub(super) struct QueueTrial {
    pub(super) engine: Arc<dyn QueueEngine>,
    pub(super) name: Name,
}

impl QueueTrial {
    pub(super) fn new(engine: Arc<dyn QueueEngine>, name: Name) -> Self {
        Self { engine, name }
    }

    /// The queue of dead letters that came with this one.
    pub(super) fn dead_letters(&self) -> Self {
        Self { engine: self.engine.clone(), name: name(&format!("{}.dead", self.name)) }
    }

    pub(super) async fn commit(
        &self,
        commit: impl IntoIterator<Item = Operation>,
    ) -> Result<Vec<Outcome>, CommitError> {
        outcomes(self.try_commit(commit).await?)
    }

    /// What became of a commit. One that is not supported must have been said to be so before, and no other.
    pub(super) async fn try_commit(
        &self,
        commit: impl IntoIterator<Item = Operation>,
    ) -> Result<Committed, CommitError> {
        commit_as_said(&*self.engine, commit.into_iter().collect()).await
    }

    /// What becomes of commits that are all begun before the first of them is answered.
    pub(super) async fn race_commits<const N: usize>(
        &self,
        commits: impl IntoIterator<Item = [Operation; N]>,
    ) -> Result<Vec<Result<Committed, CommitError>>, Stop> {
        let mut tasks = JoinSet::new();
        for commit in commits {
            let queue = self.clone();
            tasks.spawn(async move { queue.try_commit(commit).await });
        }
        let mut committed = Vec::new();
        while let Some(one) = tasks.join_next().await {
            committed.push(one.map_err(|error| Stop::Failed(error.to_string()))?);
        }
        Ok(committed)
    }

    /// What becomes of commits of one operation each that are all begun before the first of them is answered.
    pub(super) async fn race(
        &self,
        operations: impl IntoIterator<Item = Operation>,
    ) -> Result<Vec<Result<Outcome, CommitError>>, Stop> {
        let mut tasks = JoinSet::new();
        for operation in operations {
            let queue = self.clone();
            tasks.spawn(async move { queue.one(operation).await });
        }
        let mut outcomes = Vec::new();
        while let Some(outcome) = tasks.join_next().await {
            outcomes.push(outcome.map_err(|error| Stop::Failed(error.to_string()))?);
        }
        Ok(outcomes)
    }

    pub(super) async fn one(&self, operation: Operation) -> Result<Outcome, CommitError> {
        let outcomes = self.commit([operation]).await?;
        let count = outcomes.len();
        let one: Result<[Outcome; 1], _> = outcomes.try_into();
        one.map(|[outcome]| outcome).map_err(|_| CommitError::Unknown {
            cause: format!("a commit of one operation has {count} outcomes"),
        })
    }

    pub(super) async fn try_send(&self, message: impl Into<Message>) -> Result<Outcome, CommitError> {
        self.one(Operation::Send { queue: self.name.clone(), message: message.into() }).await
    }

    /// The position of a message that is stored, and was not before.
    pub(super) async fn send(&self, message: impl Into<Message>) -> Result<Option<u64>, Stop> {
        match self.try_send(message).await? {
            Outcome::Stored(receipt) => Ok(receipt.position),
            other => Err(Stop::Failed(format!("a message was sent, and the outcome is {other:?}"))),
        }
    }

    /// Why a message is refused.
    pub(super) async fn refused(&self, message: impl Into<Message>) -> Result<Refused, Stop> {
        match self.try_send(message).await {
            Err(CommitError::Refused { operation: 0, cause }) => Ok(cause),
            other => Err(Stop::Failed(format!("a message should be refused: {other:?}"))),
        }
    }

    pub(super) fn request(&self, consumer: &str, most: u32, wait: Duration) -> LeaseRequest {
        LeaseRequest {
            queue: self.name.clone(),
            consumer: name(consumer),
            most: many(most),
            bytes_max: ByteSize::from_bytes(1 << 20),
            visibility_timeout: None,
            wait,
        }
    }

    /// What there is now.
    pub(super) async fn lease(&self, most: u32) -> Result<Vec<Lease>, Stop> {
        let leases = self.engine.lease(&self.request("worker", most, Duration::ZERO)).await?;
        ensure!(leases.len() <= most as usize, "{} leases, and {most} were asked for", leases.len());
        Ok(leases)
    }

    /// The ids of what there is now, which stays leased.
    pub(super) async fn lease_ids(&self, most: u32) -> Result<Vec<String>, Stop> {
        let leases = self.lease(most).await?;
        Ok(leases.iter().map(|lease| id(&lease.content).to_owned()).collect())
    }

    /// The next message, if one comes within `wait`.
    pub(super) async fn next(&self, wait: Duration) -> Result<Option<Lease>, Stop> {
        Ok(self.engine.lease(&self.request("worker", 1, wait)).await?.pop())
    }

    /// The next message, which must come within `wait`.
    pub(super) async fn must_come(&self, what: &str, wait: Duration) -> Result<Lease, Stop> {
        let next = self.next(wait).await?;
        next.ok_or_else(|| Stop::Failed(format!("{what} did not come")))
    }

    pub(super) async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<Outcome, CommitError> {
        self.one(self.settling(lease, settlement)).await
    }

    pub(super) fn settling(&self, lease: &Lease, settlement: Settlement) -> Operation {
        Operation::Settle { queue: self.name.clone(), lease: lease.id.clone(), settlement }
    }

    /// A settlement that must be the first of a lease that stands.
    pub(super) async fn end(&self, lease: &Lease, settlement: Settlement) -> Result<(), Stop> {
        let outcome = self.settle(lease, settlement.clone()).await?;
        let what = format!("{settlement:?} of a lease that stands is {outcome:?}");
        ensure!(outcome == Outcome::Done, "{what}");
        Ok(())
    }

    pub(super) async fn ack(&self, lease: &Lease) -> Result<(), Stop> {
        self.end(lease, Settlement::Ack).await
    }

    /// A settlement that must be refused as stale.
    pub(super) async fn must_be_stale(&self, lease: &Lease, settlement: Settlement) -> Result<(), Stop> {
        let settled = self.settle(lease, settlement.clone()).await;
        let stale = Refused::Engine(EngineError::StaleLease);
        let expected = Err(CommitError::Refused { operation: 0, cause: stale });
        ensure!(settled == expected, "{settlement:?} of a lease that is over: {settled:?}");
        Ok(())
    }

    pub(super) async fn depth(&self) -> Result<Depth, Stop> {
        Ok(self.engine.depth(&self.name).await?)
    }

    /// All messages, whatever their state.
    pub(super) async fn len(&self) -> Result<u64, Stop> {
        let depth = self.depth().await?;
        Ok(depth.ready + depth.delayed + depth.in_flight)
    }

    pub(super) fn browse_from(&self, from: u64, most: u32) -> Browse {
        let bytes_max = ByteSize::from_bytes(1 << 20);
        Browse { queue: self.name.clone(), from, most: many(most), bytes_max }
    }

    pub(super) async fn browse(&self) -> Result<Vec<Browsed>, Stop> {
        let browse = self.browse_from(0, 1000);
        Ok(self.engine.browse(&browse).await?.messages)
    }
}
