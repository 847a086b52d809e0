//! The queue of replies: kept, read, and each reply handed to whoever asked.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::counters::count;
use super::pending::{Discarded, Meant};
use super::request::RequesterError;
use super::requester::Shared;
use super::wire;
use crate::commit::{Commit, Kind, Operation, Places, Together};
use crate::message::Content;
use crate::queue::{Lease, LeaseId, LeaseRequest, QueueSpec, Settlement};
use crate::support::Support;
use crate::{Durability, EngineError, Name};

/// Reads the reply queue.
pub(super) struct Replies {
    shared: Arc<Shared>,
    consumer: Name,
    /// Whether the engine acknowledges several as one.
    settles_together: bool,
}

impl Replies {
    pub(super) fn new(shared: Arc<Shared>, consumer: Name) -> Self {
        let together = shared.engine.commit_support(Together::of(&[Kind::Settle], Places::One));
        let settles_together = !matches!(together, Support::Refused { .. });
        Self { shared, consumer, settles_together }
    }

    /// Makes the queue and has it to itself; what was in it.
    pub(super) async fn open(&self) -> Result<Vec<Lease>, RequesterError> {
        let config = &self.shared.config;
        self.declare().await?;
        // Whoever had it before is gone by then, or is not.
        let patience = config.takeover.saturating_add(config.answer_timeout);
        let opened = timeout(patience, async {
            let mut tries = NonZeroU32::MIN;
            loop {
                match self.lease(NonZeroU32::MIN, Duration::ZERO).await {
                    Err(EngineError::Exclusive { .. }) => sleep(self.wait(tries)).await,
                    leased => break leased,
                }
                tries = tries.saturating_add(1);
            }
        });
        let leased = match opened.await {
            Ok(leased) => leased,
            Err(_) => self.lease(NonZeroU32::MIN, Duration::ZERO).await,
        };
        leased.map_err(RequesterError::Engine)
    }

    async fn declare(&self) -> Result<(), RequesterError> {
        let config = &self.shared.config;
        let spec = QueueSpec {
            durable: false,
            durability: Durability::UNSYNCED,
            exclusive: true,
            auto_delete: Some(config.auto_delete),
            visibility_timeout: config.takeover,
            visibility_timeout_max: config.takeover.max(QueueSpec::default().visibility_timeout_max),
            // A reply is acknowledged as soon as it is here; it comes again only when that gets lost.
            max_deliveries: NonZeroU32::new(1000).expect("1000 is not zero"),
            delays: false,
            message_bytes_max: config.reply_bytes_max,
            ..QueueSpec::default()
        };
        let declared = self.shared.engine.declare_queue(&self.shared.reply_to, &spec).await;
        declared.map(|_| ()).map_err(RequesterError::Declare)
    }

    async fn lease(&self, most: NonZeroU32, wait: Duration) -> Result<Vec<Lease>, EngineError> {
        let config = &self.shared.config;
        let request = LeaseRequest {
            queue: self.shared.reply_to.clone(),
            consumer: self.consumer.clone(),
            most,
            bytes_max: config.batch_bytes,
            visibility_timeout: None,
            wait,
        };
        let leased =
            timeout(wait.saturating_add(config.answer_timeout), self.shared.engine.lease(&request)).await;
        leased.unwrap_or_else(|_| {
            let cause = "the engine did not answer within `answer_timeout`".to_owned();
            Err(EngineError::Unavailable { cause, retry_after: None })
        })
    }

    /// Acknowledges what was handed over. What the engine does not take comes again, and is for nobody then.
    async fn acknowledge(&self, leases: &[LeaseId]) {
        let ack = |lease: &LeaseId| Operation::Settle {
            queue: self.shared.reply_to.clone(),
            lease: lease.clone(),
            settlement: Settlement::Ack,
        };
        let at_once = if self.settles_together { leases.len().max(1) } else { 1 };
        for leases in leases.chunks(at_once) {
            let commit: Commit = leases.iter().map(ack).collect();
            let _ = timeout(self.shared.config.answer_timeout, self.shared.engine.commit(commit)).await;
        }
    }

    /// Hands each reply to whoever asked, and discards the others.
    fn hand_over(&self, leases: Vec<Lease>) -> Vec<LeaseId> {
        let handed = leases.into_iter().map(|lease| {
            match lease.content {
                Content::Envelope(reply) => {
                    let asked =
                        reply.causation_id().map(|id| self.shared.change(|pending| pending.answer(&id)));
                    match asked.unwrap_or(Meant::Nobody(Discarded::Unasked)) {
                        // Whoever dropped it in this moment no longer waits.
                        Meant::Waiting(asker) => drop(asker.send(wire::read(reply))),
                        Meant::Nobody(why) => {
                            self.shared.source.counters.discarded(why);
                            self.tell_discarded(why.name(), reply.id());
                        }
                    }
                }
                Content::Undecodable { problem, .. } => {
                    count(&self.shared.source.counters.undecodable);
                    self.tell_discarded("undecodable", &problem);
                }
            }
            lease.id
        });
        handed.collect()
    }

    fn tell_discarded(&self, why: &'static str, reply: &str) {
        self.shared.events.tell("reply_discarded", || {
            let requester = self.shared.source.name.to_string();
            vec![("requester", requester), ("why", why.to_owned()), ("reply", reply.to_owned())]
        });
    }

    fn wait(&self, tries: NonZeroU32) -> Duration {
        self.shared.config.backoff.wait(tries, fastrand::u32(..))
    }

    /// What is to be done before an engine that did not answer is asked again, and how long that waits.
    async fn mend(&self, error: &EngineError, tries: NonZeroU32) -> Duration {
        self.shared.events.tell("replies_unavailable", || {
            let requester = self.shared.source.name.to_string();
            vec![("requester", requester), ("reason", error.to_string())]
        });
        match error {
            EngineError::NotFound { .. } => match self.declare().await {
                Ok(()) => {
                    count(&self.shared.source.counters.reopened);
                    if tries == NonZeroU32::MIN { Duration::ZERO } else { self.wait(tries) }
                }
                Err(_) => self.wait(tries),
            },
            EngineError::Unavailable { retry_after: Some(wait), .. } => *wait,
            _ => self.wait(tries),
        }
    }
}

/// Reads replies until it is to stop, or nobody is left to ask.
pub(super) async fn receive(replies: Replies, first: Vec<Lease>, mut stop: watch::Receiver<bool>) {
    let (most, poll) = (replies.shared.config.batch_max, replies.shared.config.poll);
    let mut handed = replies.hand_over(first);
    let mut unanswered = 0_u32;
    loop {
        let read = async {
            // More is asked for while these are acknowledged, so that no request waits for that.
            let ((), leased) = tokio::join!(replies.acknowledge(&handed), replies.lease(most, poll));
            leased
        };
        let leased = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            leased = read => leased,
        };
        handed.clear();
        match leased {
            Ok(leases) => {
                unanswered = 0;
                handed = replies.hand_over(leases);
            }
            Err(error) => {
                unanswered = unanswered.saturating_add(1);
                let tries = NonZeroU32::new(unanswered).unwrap_or(NonZeroU32::MIN);
                let mended = async {
                    let wait = replies.mend(&error, tries).await;
                    sleep(wait).await;
                };
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|stop| *stop) => break,
                    () = mended => {}
                }
            }
        }
    }
    replies.acknowledge(&handed).await;
}
