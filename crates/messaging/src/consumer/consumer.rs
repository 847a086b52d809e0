use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::telemetry::Events;
use intertie_resilience::Pipeline;
use intertie_resilience::pipeline::InvalidPipeline;
use tokio::sync::watch;

use super::config::ConsumerConfig;
use super::counters::ConsumerStats;
use super::delivery::{Delivery, Stage};
use super::handler::{Handler, Single};
use super::running::Running;
use super::shared::Shared;
use super::verdict::Deliveries;
use crate::commit::{Kind, Places, Together};
use crate::queue::{QueueEngine, QueueFeature, QueueSpec, QueueVerb};
use crate::support::{Refusal, Support};
use crate::{EngineError, InboxEngine, Name};

/// Takes messages from a queue, has them handled, and settles them.
///
/// It does nothing until it runs. See the [module](super) for what becomes of a message.
#[derive(Debug)]
pub struct Consumer {
    shared: Shared,
    stats: ConsumerStats,
    stage: watch::Sender<Stage>,
    /// The time of a lease, where the engine takes one.
    lease_time: Option<Duration>,
}

/// Why a consumer can not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerError {
    /// A setting can not work.
    Invalid(Invalid),
    /// A policy around the handler can not work.
    Pipeline(InvalidPipeline),
    /// The engine can not acknowledge a message and mark it in an inbox together.
    Refused(Box<Refusal>),
}

impl fmt::Display for ConsumerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(invalid) => invalid.fmt(f),
            Self::Pipeline(invalid) => invalid.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for ConsumerError {}

/// How a consumer ended that was to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Whether every handler ended within `drain_timeout`. Those that did not were dropped, and their messages given
    /// back.
    pub in_time: bool,
    /// Messages that the engine did not take back within `release_timeout`: they come again when their time is over.
    pub left: usize,
}

impl Consumer {
    /// A consumer of `queue`, which was declared as `spec`, that is known to the engine as `name`. It tells `events` of
    /// what fails.
    ///
    /// # Errors
    /// When settings can not work together. One with an inbox is made by [`Consumer::with_inbox`].
    pub fn new(
        engine: Arc<dyn QueueEngine>,
        queue: &Name,
        spec: &QueueSpec,
        name: &Name,
        config: ConsumerConfig,
        events: Events,
    ) -> Result<Self, ConsumerError> {
        if config.inbox.is_some() {
            let problem = "this consumer was given no engine that keeps inboxes";
            return Err(ConsumerError::Invalid(Invalid::new("inbox", problem)));
        }
        Self::build(engine, None, queue, spec, name, config, events)
    }

    /// The same on an engine that keeps inboxes too.
    ///
    /// # Errors
    /// When settings can not work together, or the engine can not acknowledge and mark together.
    pub fn with_inbox<E: QueueEngine + InboxEngine + 'static>(
        engine: Arc<E>,
        queue: &Name,
        spec: &QueueSpec,
        name: &Name,
        config: ConsumerConfig,
        events: Events,
    ) -> Result<Self, ConsumerError> {
        let together = Together::of(&[Kind::Settle, Kind::Mark], Places::Several);
        let support = engine.commit_support(together);
        if config.inbox.is_some()
            && let Some(refusal) = support.refusal("inbox", engine.id())
        {
            return Err(ConsumerError::Refused(Box::new(refusal)));
        }
        Self::build(Arc::clone(&engine) as _, Some(engine), queue, spec, name, config, events)
    }

    fn build(
        engine: Arc<dyn QueueEngine>,
        inbox: Option<Arc<dyn InboxEngine>>,
        queue: &Name,
        spec: &QueueSpec,
        name: &Name,
        config: ConsumerConfig,
        events: Events,
    ) -> Result<Self, ConsumerError> {
        config.validate().map_err(ConsumerError::Invalid)?;
        let pipeline =
            Pipeline::new(name.as_str(), config.pipeline.clone()).map_err(ConsumerError::Pipeline)?;
        let offers = |verb| !matches!(engine.support(QueueFeature::Verb(verb)), Support::Refused { .. });
        let visibility_timeout = config.visibility_timeout.unwrap_or(spec.visibility_timeout);
        let takes_time = offers(QueueVerb::LeaseTime);
        if visibility_timeout != spec.visibility_timeout && !takes_time {
            let problem = "the engine leases for the time of the queue alone; leave it out";
            return Err(ConsumerError::Invalid(Invalid::new("visibility_timeout", problem)));
        }
        let (stage, listening) = watch::channel(Stage::Running);
        let stats = ConsumerStats::new(queue.clone(), name.clone());
        let shared = Shared {
            extends: offers(QueueVerb::Extend),
            engine,
            inbox: inbox.filter(|_| config.inbox.is_some()),
            queue: queue.clone(),
            consumer: name.clone(),
            pipeline,
            deliveries: Deliveries {
                max: spec.max_deliveries,
                redelivery: spec.redelivery.clone(),
                retry_after_max: config.retry_after_max,
            },
            visibility_timeout,
            config,
            counters: Arc::clone(&stats.counters),
            events,
            stage: listening,
        };
        // Asked for by its length, it is the same after somebody declared the queue with another one.
        Ok(Self { shared, stats, stage, lease_time: takes_time.then_some(visibility_timeout) })
    }

    /// What it does, to be read while it runs.
    pub fn stats(&self) -> ConsumerStats {
        self.stats.clone()
    }

    /// Has messages handled one by one until `stop` is ready, and then drains: takes in nothing more, gives back what
    /// waits, lets handlers end within `drain_timeout`, drops the others and gives back their messages.
    ///
    /// Dropping the future drops the handlers. No message is lost by it: what was held comes again when its time is
    /// over, and counts as delivered.
    ///
    /// # Errors
    /// When the engine will never answer otherwise: there is no such queue, or it does not do what is asked of it. It
    /// has drained then. An engine that is away is waited for.
    pub async fn run<H: Handler<Delivery>>(
        self,
        handler: H,
        stop: impl Future<Output = ()>,
    ) -> Result<Drained, EngineError> {
        let Self { shared, stage, lease_time, .. } = self;
        Running::new(shared, stage, lease_time, Single(handler), 1).run(stop).await
    }

    /// The same with a handler of batches of up to `batch_max` messages: what is there when its turn comes, nothing is
    /// waited for. When one fails of which a message may be to blame it is handled again in halves, until that one is
    /// alone; handlers should bear to get messages again of which they did a part.
    ///
    /// # Errors
    /// As [`Consumer::run`].
    pub async fn run_batches<H: Handler<Vec<Delivery>>>(
        self,
        handler: H,
        stop: impl Future<Output = ()>,
    ) -> Result<Drained, EngineError> {
        let Self { shared, stage, lease_time, .. } = self;
        let unit = shared.config.batch_max.get() as usize;
        Running::new(shared, stage, lease_time, handler, unit).run(stop).await
    }
}
