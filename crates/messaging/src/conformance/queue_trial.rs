use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::case::{Stop, ensure};
use super::trial::{id, many, name};
use crate::commit::{Commit, CommitError, Operation, Outcome, Refused};
use crate::message::Message;
use crate::queue::{Browse, Browsed, Depth, Lease, LeaseRequest, QueueEngine, Settlement};
use crate::{EngineError, Name};

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
        self.engine.commit(commit.into_iter().collect()).await
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
        let outcomes = self.engine.commit(Commit::from(operation)).await?;
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
    pub(super) async fn send(&self, message: impl Into<Message>) -> Result<u64, Stop> {
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
        self.one(Operation::Settle { lease: lease.id.clone(), settlement }).await
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

    pub(super) async fn browse(&self) -> Result<Vec<Browsed>, Stop> {
        let browse = Browse { queue: self.name.clone(), from: 0, most: many(1000) };
        Ok(self.engine.browse(&browse).await?.messages)
    }
}
