//! What cases are written in.

use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use intertie_core::clock::Timestamp;
use intertie_core::envelope::{Data, Envelope};
use intertie_core::quantity::Ratio;
use intertie_idempotency::Store;

use super::case::{Stop, ensure};
use super::queue_trial::QueueTrial;
use super::topic_trial::TopicTrial;
use super::{ConformanceConfig, Ports, Subject};
use crate::commit::Operation;
use crate::log::{LogEngine, TopicSpec};
use crate::message::Content;
use crate::queue::{QueueEngine, QueueSpec, QueueVerb, RedeliveryConfig};
use crate::support::{Emulation, EngineId, Feature, Refusal, Support};
use crate::{DeclareError, Durability, InboxEngine, Name};

/// One engine, for one case.
pub(super) struct Trial {
    subject: Arc<dyn Subject>,
    ports: Ports,
    pub(super) config: ConformanceConfig,
}

pub(super) fn name(text: &str) -> Name {
    text.parse().expect("names of cases are names")
}

pub(super) fn event(id: &str) -> Envelope {
    let event = Envelope::new(id, "/conformance", "tested").expect("an event");
    event.with_data(Data::text(id), Some("text/plain")).expect("some text")
}

pub(super) fn event_of(key: &str, id: &str) -> Envelope {
    event(id).with_partition_key(key).expect("a key")
}

pub(super) fn id(content: &Content) -> &str {
    match content {
        Content::Envelope(envelope) => envelope.id(),
        Content::Undecodable { .. } => "what can not be decoded",
    }
}

pub(super) fn many(most: u32) -> NonZeroU32 {
    NonZeroU32::new(most).expect("cases ask for some")
}

/// Polls `future` at most `times`, and drops it if it has not ended.
pub(super) async fn poll_times<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut polled = 0;
    std::future::poll_fn(|context| {
        polled += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if polled >= times => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

impl Trial {
    pub(super) async fn begin(subject: Arc<dyn Subject>, config: ConformanceConfig) -> Self {
        let ports = subject.open().await;
        Self { subject, ports, config }
    }

    pub(super) fn tick(&self) -> Duration {
        self.subject.tick()
    }

    pub(super) fn ticks(&self, ticks: u32) -> Duration {
        self.tick() * ticks
    }

    /// What is looked at before and after the edge of a window: the next instant with an exact clock, half a tick
    /// with another.
    pub(super) fn edge(&self) -> Edge {
        if self.subject.is_exact() {
            Edge { before: Duration::from_millis(1), across: Duration::from_millis(1) }
        } else {
            Edge { before: self.tick() / 2, across: self.tick() }
        }
    }

    pub(super) async fn pass(&self, time: Duration) {
        self.subject.pass(time).await;
    }

    pub(super) async fn pass_ticks(&self, ticks: u32) {
        self.pass(self.ticks(ticks)).await;
    }

    pub(super) fn now(&self) -> Timestamp {
        self.subject.now()
    }

    pub(super) fn in_ticks(&self, ticks: u32) -> Timestamp {
        let nanos = u64::try_from(self.ticks(ticks).as_nanos()).expect("cases are short");
        Timestamp::from_unix_nanos(self.now().as_unix_nanos() + nanos)
    }

    pub(super) fn queues(&self) -> Result<Arc<dyn QueueEngine>, Stop> {
        self.ports.queues.clone().ok_or(Stop::Absent("port for queues"))
    }

    pub(super) fn logs(&self) -> Result<Arc<dyn LogEngine>, Stop> {
        self.ports.logs.clone().ok_or(Stop::Absent("port for topics"))
    }

    pub(super) fn inboxes(&self) -> Result<Arc<dyn InboxEngine>, Stop> {
        self.ports.inboxes.clone().ok_or(Stop::Absent("port for inboxes"))
    }

    pub(super) fn requests(&self) -> Result<Arc<dyn Store>, Stop> {
        self.ports.requests.clone().ok_or(Stop::Absent("port for records of requests"))
    }

    /// Promises that every engine can make, and times that are short.
    pub(super) fn queue_spec(&self) -> QueueSpec {
        let wait = self.tick() / 10;
        QueueSpec {
            delays: false,
            visibility_timeout: self.ticks(10),
            redelivery: RedeliveryConfig {
                base: wait,
                cap: wait,
                multiplier: NonZeroU32::MIN,
                jitter: Ratio::from_percent(0),
            },
            durability: Durability::UNSYNCED,
            ..QueueSpec::default()
        }
    }

    /// The same for an engine that does this, too.
    pub(super) fn spec_with(&self, needs: impl IntoIterator<Item = QueueVerb>) -> QueueSpec {
        QueueSpec { needs: needs.into_iter().collect(), ..self.queue_spec() }
    }

    pub(super) fn topic_spec(&self) -> TopicSpec {
        TopicSpec { durability: Durability::UNSYNCED, ..TopicSpec::default() }
    }

    /// Declares a queue, or ends the case with the refusal, once that was looked at.
    pub(super) async fn queue(&self, queue: &str, spec: &QueueSpec) -> Result<QueueTrial, Stop> {
        let (engine, queue) = (self.queues()?, name(queue));
        match engine.declare_queue(&queue, spec).await {
            Ok(_) => Ok(QueueTrial::new(engine, queue)),
            Err(DeclareError::Refused(refusals)) => {
                let support = |feature| engine.support(feature);
                check_refusals(&refusals, &spec.features(), spec.emulation, engine.id(), support)?;
                Err(Stop::Refused(refusals))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Declares a topic, or ends the case with the refusal, once that was looked at.
    pub(super) async fn topic(&self, topic: &str, spec: &TopicSpec) -> Result<TopicTrial, Stop> {
        let (engine, topic) = (self.logs()?, name(topic));
        match engine.declare_topic(&topic, spec).await {
            Ok(_) => Ok(TopicTrial::new(engine, topic)),
            Err(DeclareError::Refused(refusals)) => {
                let support = |feature| engine.support(feature);
                check_refusals(&refusals, &spec.features(), spec.emulation, engine.id(), support)?;
                Err(Stop::Refused(refusals))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn restart(&mut self) -> Result<(), Stop> {
        let nothing = Ports { queues: None, logs: None, inboxes: None, requests: None };
        let ports = std::mem::replace(&mut self.ports, nothing);
        self.ports = self.subject.restart(ports).await.ok_or(Stop::Absent("restart"))?;
        Ok(())
    }

    /// Starts the engine again. Nobody else may hold it meanwhile.
    pub(super) async fn restart_with_queue(&mut self, queue: QueueTrial) -> Result<QueueTrial, Stop> {
        let name = queue.name.clone();
        drop(queue);
        self.restart().await?;
        Ok(QueueTrial::new(self.queues()?, name))
    }

    /// The same with a topic.
    pub(super) async fn restart_with_topic(&mut self, topic: TopicTrial) -> Result<TopicTrial, Stop> {
        let name = topic.name.clone();
        drop(topic);
        self.restart().await?;
        Ok(TopicTrial::new(self.logs()?, name))
    }
}

/// How far from the edge of a window to look.
pub(super) struct Edge {
    /// So long before it.
    pub(super) before: Duration,
    /// And so long after that, when it is over.
    pub(super) across: Duration,
}

/// Whether refusals are what they should be: each about something that was asked for, in the engine's name, with
/// reasons, and none that `support` told otherwise; and none missing.
pub(super) fn check_refusals<F: Feature>(
    refusals: &[Refusal],
    asked: &[F],
    emulation: Emulation,
    engine: &EngineId,
    support: impl Fn(F) -> Support,
) -> Result<(), Stop> {
    let is_refused = |feature: &F| match support(*feature) {
        Support::Native => false,
        Support::Emulated { .. } => emulation == Emulation::Refused,
        Support::Refused { .. } => true,
    };
    let expected: Vec<_> =
        asked.iter().filter(|feature| is_refused(feature)).map(|feature| feature.key()).collect();
    let found: Vec<_> = refusals.iter().map(|refusal| refusal.feature).collect();
    ensure!(found == expected, "it refuses {found:?}, and `support` says {expected:?}");
    for refusal in refusals {
        ensure!(!refusal.why.is_empty(), "`{}` is refused without a reason", refusal.feature);
        ensure!(!refusal.hint.is_empty(), "`{}` is refused without a hint", refusal.feature);
        ensure!(refusal.engine == *engine, "{} refuses in the name of {}", engine, refusal.engine);
    }
    Ok(())
}

/// A send that is part of a larger commit.
pub(super) fn send(queue: &QueueTrial, event: Envelope) -> Operation {
    Operation::Send { queue: queue.name.clone(), message: event.into() }
}
