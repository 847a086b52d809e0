use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::telemetry::Events;
use intertie_resilience::{MonotonicClock, Pipeline};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::config::ConsumerConfig;
use super::counters::{Counters, Fate};
use super::delivery::Stage;
use super::verdict::{Deliveries, again};
use crate::commit::{Commit, CommitError, Operation, Refused};
use crate::queue::{Lease, LeaseId, QueueEngine, Settlement};
use crate::{Content, EngineError, InboxEngine, Name};

/// What the parts of one consumer have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) engine: Arc<dyn QueueEngine>,
    pub(super) inbox: Option<Arc<dyn InboxEngine>>,
    pub(super) queue: Name,
    pub(super) consumer: Name,
    pub(super) config: ConsumerConfig,
    pub(super) pipeline: Pipeline,
    pub(super) deliveries: Deliveries,
    /// How long a message is the consumer's at a time.
    pub(super) visibility_timeout: Duration,
    /// Whether that can be extended.
    pub(super) extends: bool,
    pub(super) counters: Arc<Counters>,
    pub(super) events: Events,
    pub(super) stage: watch::Receiver<Stage>,
}

/// What an engine is away for that says nothing.
const UNANSWERED: &str = "the engine did not answer within `answer_timeout`";

impl Shared {
    /// What the engine answers; that it is away when it does not within its time, or within `wait` beyond.
    pub(super) async fn answer<T>(
        &self,
        wait: Duration,
        pending: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let answer = timeout(self.config.answer_timeout.saturating_add(wait), pending).await;
        answer.unwrap_or_else(|_| {
            Err(EngineError::Unavailable { cause: UNANSWERED.to_owned(), retry_after: None })
        })
    }

    /// Commits, and again while the engine does not answer: with a settlement in it nothing is done twice. It gives up
    /// after `visibility_timeout`, or at once when the consumer has no more time.
    pub(super) async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let end = MonotonicClock::now() + self.visibility_timeout;
        let mut tries = NonZeroU32::MIN;
        loop {
            let error = match timeout(self.config.answer_timeout, self.engine.commit(commit.clone())).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => CommitError::Unknown { cause: UNANSWERED.to_owned() },
            };
            let Some(hint) = again(&error) else { return Err(error) };
            let wait = self.wait(tries).max(hint.unwrap_or_default());
            if MonotonicClock::now() + wait >= end || *self.stage.borrow() == Stage::Cut {
                return Err(error);
            }
            sleep(wait).await;
            tries = tries.saturating_add(1);
        }
    }

    /// The wait before something is asked for again that was in vain `times`.
    pub(super) fn wait(&self, times: NonZeroU32) -> Duration {
        self.config.backoff.wait(times, fastrand::u32(..))
    }

    /// When a lease that ends at `end` is given back if nothing was begun with it.
    pub(super) fn overdue_at(&self, end: Instant) -> Instant {
        let left = end.saturating_since(Instant::ORIGIN);
        Instant::ORIGIN + left.saturating_sub(self.visibility_timeout / 2)
    }

    /// Whose events these are.
    pub(super) fn names(&self) -> Vec<(&'static str, String)> {
        vec![("queue", self.queue.to_string()), ("consumer", self.consumer.to_string())]
    }

    pub(super) fn settle_operation(&self, lease: &LeaseId, settlement: Settlement) -> Operation {
        Operation::Settle { queue: self.queue.clone(), lease: lease.clone(), settlement }
    }

    /// Settles one message: what became of it.
    pub(super) async fn settle(&self, lease: &LeaseId, settlement: Settlement) -> Fate {
        let fate = Fate::of(&settlement);
        match self.commit(self.settle_operation(lease, settlement).into()).await {
            Ok(()) => fate,
            Err(error) if is_stale(&error) => Fate::Lost,
            Err(_) => Fate::Unsettled,
        }
    }

    /// Gives back what nothing was begun with.
    pub(super) async fn release(&self, leases: &[Lease]) {
        for lease in leases {
            let fate = self.settle(&lease.id, Settlement::Release).await;
            self.tell(lease, fate, "");
        }
    }

    /// Counts what became of a message, and tells it unless it was done.
    pub(super) fn tell(&self, lease: &Lease, fate: Fate, reason: &str) {
        self.counters.ended(fate);
        let Some(event) = fate.event() else { return };
        self.events.tell(event, || {
            let mut fields = self.names();
            fields.push(("deliveries", lease.deliveries.to_string()));
            if let Some(position) = lease.position {
                fields.push(("position", position.to_string()));
            }
            if let Content::Envelope(envelope) = &lease.content {
                fields.push(("id", envelope.id().to_owned()));
                fields.push(("source", envelope.source().to_owned()));
            }
            if let Fate::DeadLettered(cause) = fate {
                fields.push(("cause", cause.name().to_owned()));
            }
            if !reason.is_empty() {
                fields.push(("reason", reason.to_owned()));
            }
            fields
        });
    }
}

/// Whether a lease that was to be settled is over.
pub(super) fn is_stale(error: &CommitError) -> bool {
    matches!(
        error,
        CommitError::Refused { cause: Refused::Engine(EngineError::StaleLease) | Refused::DoneBefore, .. }
    )
}
