use std::future::poll_fn;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::Poll;
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

    /// Settles messages, up to `batch_max` of them as one commit: what became of each.
    pub(super) async fn settle(&self, settlements: Vec<(LeaseId, Settlement)>) -> Vec<Fate> {
        let mut fates = Vec::with_capacity(settlements.len());
        for together in settlements.chunks(self.config.batch_max.get() as usize) {
            fates.extend(self.settle_together(together).await);
        }
        fates
    }

    async fn settle_together(&self, settlements: &[(LeaseId, Settlement)]) -> Vec<Fate> {
        let mut fates: Vec<_> = settlements.iter().map(|(_, settlement)| Fate::of(settlement)).collect();
        let mut left: Vec<usize> = (0..settlements.len()).collect();
        while !left.is_empty() {
            let operations = left.iter().map(|at| {
                let (lease, settlement) = &settlements[*at];
                self.settle_operation(lease, settlement.clone())
            });
            let Err(error) = self.commit(operations.collect()).await else { break };
            match error {
                // The others go on without it.
                CommitError::Refused { operation, .. } if is_stale(&error) && operation < left.len() => {
                    fates[left.remove(operation)] = Fate::Lost;
                }
                // One of them may be too much for the others, or all of them for the engine.
                _ if left.len() > 1 && again(&error).is_none() => {
                    for at in left.drain(..) {
                        let alone = Box::pin(self.settle_together(&settlements[at..=at]));
                        fates[at] = alone.await[0];
                    }
                }
                _ => left.drain(..).for_each(|at| fates[at] = Fate::Unsettled),
            }
        }
        fates
    }

    /// Gives back what nothing was begun with.
    pub(super) async fn release(&self, leases: &[Lease]) {
        let settlements = leases.iter().map(|lease| (lease.id.clone(), Settlement::Release));
        for (lease, fate) in leases.iter().zip(self.settle(settlements.collect()).await) {
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

/// What all of them come to, each as soon as it can.
pub(super) async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        let mut is_pending = false;
        for (future, output) in &mut futures {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(ready) => *output = Some(ready),
                    Poll::Pending => is_pending = true,
                }
            }
        }
        if is_pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    futures.into_iter().filter_map(|(_, output)| output).collect()
}

/// Whether a lease that was to be settled is over.
pub(super) fn is_stale(error: &CommitError) -> bool {
    matches!(
        error,
        CommitError::Refused { cause: Refused::Engine(EngineError::StaleLease) | Refused::DoneBefore, .. }
    )
}
